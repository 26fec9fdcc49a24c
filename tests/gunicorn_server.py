"""A real server in processes of its own, and raw streams from it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import sqlite3
import ssl
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
from sse import Parser, ServerEvent

ROOT = Path(__file__).resolve().parent.parent
STREAM_PATH = "/events_stream/"
WAIT_SECONDS = 20.0


def wait_until(true: Callable[[], object], what: str, seconds: float = WAIT_SECONDS) -> None:
    """Return once the condition holds, and fail where it doesn't in time."""
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until, f"not in {seconds:g} s: {what}"
        time.sleep(0.02)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def environment(config: Path, **more: str) -> dict[str, str]:
    """Return the environment in which a server reads this configuration file."""
    inherited = {k: v for k, v in os.environ.items() if k != "PROMETHEUS_MULTIPROC_DIR"}
    return {
        **inherited,
        "SSE_SINK_CONFIG": str(config),
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
        **more,
    }


def gunicorn_command(folder: Path, *arguments: str) -> list[str]:
    made = [sys.executable, "-m", "gunicorn", "-c", str(ROOT / "gunicorn.conf.py")]
    return [*made, "--chdir", str(folder), *arguments, "wsgi:app"]


def flask_command(port: int, *arguments: str) -> list[str]:
    made = [sys.executable, "-m", "flask", "--app", "wsgi", "run", "--port", str(port)]
    return [*made, *arguments]


def whole_chunks(raw: bytes) -> tuple[bytes, bytes, bool]:
    """Return what the whole chunks in front hold, what is left, and whether that is the end."""
    parts: list[bytes] = []
    while b"\r\n" in raw:
        size, _, rest = raw.partition(b"\r\n")
        length = int(size, 16)
        if not length:
            return b"".join(parts), raw, True
        if len(rest) < length + 2:
            break
        assert rest[length : length + 2] == b"\r\n"
        parts.append(rest[:length])
        raw = rest[length + 2 :]
    return b"".join(parts), raw, False


class Stream:
    """One open stream, read from its socket; ``event`` and ``id`` are as a browser has them."""

    def __init__(self, port: int, path: str = STREAM_PATH, receive_buffer: int = 0) -> None:
        self._socket = socket.socket()
        self._socket.settimeout(WAIT_SECONDS)
        if receive_buffer:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        try:
            self._socket.connect(("127.0.0.1", port))
            self._socket.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            self._raw = b""
            while b"\r\n\r\n" not in self._raw:
                self._receive()
        except BaseException:
            self._socket.close()
            raise
        head, _, self._raw = self._raw.partition(b"\r\n\r\n")
        self.head = head.decode("latin-1").lower()
        self.status = int(self.head.split()[1])
        self._chunked = "transfer-encoding: chunked" in self.head
        self._parser = Parser()
        self._events: list[ServerEvent] = []
        #: The id of the message that was read last.
        self.last_id = 0

    @property
    def local_port(self) -> int:
        port: int = self._socket.getsockname()[1]
        return port

    def _receive(self) -> None:
        data = self._socket.recv(1 << 18)
        if not data:
            raise EOFError("the server ended the stream")
        self._raw += data

    def _body(self) -> bytes:
        """Take what has come of the body."""
        if not self._chunked:
            found, self._raw = self._raw, b""
            return found
        found, self._raw, ended = whole_chunks(self._raw)
        if ended and not found:
            raise EOFError("the server ended the stream")
        return found

    def next(self, heartbeats: bool = False) -> ServerEvent:
        """Return the next event, passing over heartbeats unless they are wanted."""
        while True:
            while self._events:
                found = self._events.pop(0)
                if heartbeats or found.event != "heartbeat":
                    return found
            body = self._body()
            if not body:
                self._receive()
                body = self._body()
            self._events = self._parser.feed(body)

    def message_id(self) -> int:
        """Return the id of the next event, which must be a message."""
        found = self.next()
        assert found.event == "message", found
        assert json.loads(found.data)["id"] == int(found.id)
        self.last_id = int(found.id)
        return self.last_id

    def rest(self) -> bytes:
        """Return the body of an answer that tells its length."""
        length = int(self.head.partition("content-length: ")[2].split()[0])
        while len(self._raw) < length:
            self._receive()
        return self._raw

    def ids_until(self, last: int) -> list[int]:
        """Return the ids of the messages up to this one, which must come."""
        found = [self.message_id()]
        while found[-1] < last:
            found.append(self.message_id())
        return found

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Stream:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Server:
    """A server that was started in ``folder`` from a configuration written there.

    ``command`` makes the command line from the folder and port; by default it is gunicorn's.
    """

    #: Whether servers are to send directly; tests of streams run both ways.
    direct_send = True

    def __init__(
        self,
        folder: Path,
        *,
        workers: int = 2,
        max_clients: int = 100,
        token: str = "",
        server: str = "",
        sink: str = "",
        database: str = "",
        url: str = "",
        other_sinks: str = "",
        arguments: Sequence[str] = (),
        command: Callable[[int], list[str]] | None = None,
        tls: bool = False,
        port: int = 0,
        ready: str = "/readyz",
    ) -> None:
        self.folder = folder
        self.tls = tls
        self.port = port or free_port()
        self.token = token
        self.database = folder / "events.db"
        self.log_file = folder / "server.log"
        config = folder / "config.yaml"
        place = url or f"sqlite:///{self.database}"
        config.write_text(
            f"server: {{port: {self.port}, workers: {workers}, max_clients: {max_clients}, "
            f"direct_send: {str(self.direct_send).lower()}{', ' if server else ''}{server}}}\n"
            f"database: {{url: '{place}'{', ' if database else ''}{database}}}\n"
            f"ingest: {{{f'tokens: [{token}]' if token else 'auth: none'}}}\n"
            f"sink: {{events_stream: {{type: sse{', ' if sink else ''}{sink}}}{other_sinks}}}\n"
        )
        made = command(self.port) if command else gunicorn_command(folder, *arguments)
        with self.log_file.open("wb") as log:
            self._process = subprocess.Popen(
                made,
                cwd=folder,
                env=environment(config),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            wait_until(lambda: self._is_up(ready), f"{self.url(ready)} answers")
            if not command:
                wait_until(lambda: len(self.workers()) == workers, "every worker is there")
        except BaseException:
            print(self.log)
            self.stop()
            raise

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    @property
    def pid(self) -> int:
        """Return the pid of the process that was started, which leads a group of its own."""
        return self._process.pid

    def metrics_text(self) -> str:
        """Return what `/metrics` tells."""
        with urllib.request.urlopen(self.url("/metrics"), timeout=WAIT_SECONDS) as answer:
            found: bytes = answer.read()
        return found.decode()

    def metrics(self) -> dict[str, float]:
        """Return every metric's value by its name and labels."""
        lines = [line for line in self.metrics_text().splitlines() if line[:1] not in ("", "#")]
        return {name: float(value) for name, _, value in (n.rpartition(" ") for n in lines)}

    def wait_for_metrics(
        self,
        expected: Mapping[str, float],
        seconds: float = WAIT_SECONDS,
        while_waiting: Callable[[], object] = lambda: None,
    ) -> None:
        """Return once the metrics have these values."""
        until = time.monotonic() + seconds
        while True:
            found = self.metrics()
            differing = {k: found.get(k) for k, value in expected.items() if found.get(k) != value}
            if not differing:
                return
            assert time.monotonic() < until, differing
            while_waiting()
            time.sleep(0.01)

    def kill(self, pid: int) -> None:
        """Kill a process of this server and wait until it is another that has its place."""
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: pid not in self.workers(), "it is gone")

    def terminate(self) -> None:
        """Tell the server to stop, and don't wait for that."""
        self._process.send_signal(signal.SIGTERM)

    def close(self) -> None:
        """End whatever there still is of a server that was killed or ended itself."""
        for pid in _members(self.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait(WAIT_SECONDS)

    def url(self, path: str = STREAM_PATH) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    def _is_up(self, path: str) -> bool:
        assert self._process.poll() is None, self.log
        return self.answers(path) == 200

    def answers(self, path: str) -> int:
        """Return the status of a GET, 0 where nobody answers."""
        made = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_SECONDS)
        if self.tls:
            context = ssl._create_unverified_context()
            made = http.client.HTTPSConnection("127.0.0.1", self.port, context=context)
        try:
            made.request("GET", path)
            return made.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            made.close()

    def workers(self) -> list[int]:
        """Return the pids of gunicorn's workers."""
        return [child.pid for child in psutil.Process(self._process.pid).children()]

    def owner(self, local_port: int) -> int:
        """Return which worker accepted the connection from this port of ours."""
        found: list[int] = []

        def is_found() -> bool:
            for pid in self.workers():
                for each in psutil.Process(pid).net_connections("tcp"):
                    if each.raddr and each.raddr.port == local_port:
                        found.append(pid)
            return bool(found)

        wait_until(is_found, "a worker owns the connection")
        return found[0]

    def stream(self, query: str = "", receive_buffer: int = 0) -> Stream:
        """Open a stream, past its first event."""
        made = Stream(self.port, f"{STREAM_PATH}{query}", receive_buffer)
        try:
            assert made.status == 200, made.head
            first = made.next()
            assert (first.event, first.data) == ("info", "connected")
        except BaseException:
            made.close()
            raise
        return made

    def connection(self) -> Connection:
        return Connection(self)

    def post(self, events: object) -> list[int]:
        """Publish on a connection of its own, and return the ids."""
        with self.connection() as made:
            return made.post(events)

    @contextlib.contextmanager
    def one_of_each_worker(self, make: Callable[[], Any]) -> Iterator[dict[int, Any]]:
        """Open connections until every worker owns one; yield them by their worker's pid."""
        opened: list[Any] = []
        found: dict[int, Any] = {}
        try:
            while len(found) < len(self.workers()):
                assert len(opened) < 90, "one worker takes every connection"
                opened.append(make())
                found.setdefault(self.owner(opened[-1].local_port), opened[-1])
            for spare in opened:
                if spare not in found.values():
                    spare.close()
            yield found
        finally:
            for each in opened:
                each.close()

    def stored(self) -> list[tuple[int, str]]:
        """Return id and event id of every event in the log's file."""
        with contextlib.closing(sqlite3.connect(self.database)) as db:
            return db.execute("SELECT id, event_id FROM events ORDER BY id").fetchall()

    def stop(self) -> None:
        """End what was started, and fail if it doesn't end by itself or anything remains."""
        group = self._process.pid
        with contextlib.suppress(ProcessLookupError):
            if self._process.poll() is None:
                self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(WAIT_SECONDS)
        finally:
            remaining = _members(group)
            for pid in remaining:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._process.wait(WAIT_SECONDS)
        assert not remaining, f"remained after SIGTERM: {remaining}\n{self.log}"

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _members(group: int) -> list[int]:
    found = []
    for pid in psutil.pids():
        with contextlib.suppress(OSError):
            if os.getpgid(pid) == group and psutil.pid_exists(pid):
                with contextlib.suppress(psutil.NoSuchProcess):
                    if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                        found.append(pid)
    return found


class Connection:
    """A producer's connection, which is kept open between its requests."""

    def __init__(self, server: Server) -> None:
        self._http = http.client.HTTPConnection("127.0.0.1", server.port, timeout=WAIT_SECONDS)
        self._http.connect()
        self._headers = {"Content-Type": "application/json"}
        if server.token:
            self._headers["Authorization"] = f"Bearer {server.token}"

    @property
    def local_port(self) -> int:
        port: int = self._http.sock.getsockname()[1]
        return port

    def send(self, events: object) -> None:
        """Begin a request, whose answer :meth:`ids` waits for."""
        self._http.request("POST", "/ingest", json.dumps(events).encode(), self._headers)

    def answer(self) -> bytes:
        """Return the body of the answer to what was sent, whatever its status."""
        return self._http.getresponse().read()

    def ids(self) -> list[int]:
        answer = self._http.getresponse()
        body = answer.read()
        assert answer.status == 201, (answer.status, body)
        found: list[int] = json.loads(body)["ids"]
        return found

    def post(self, events: object) -> list[int]:
        self.send(events)
        return self.ids()

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
