"""A real gunicorn for the tests, and readers that hold real connections to it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
from sse import Parser, ServerEvent

ROOT = Path(__file__).parent.parent
CONFIG = """
server: {{port: {port}, workers: 2, max_clients: 200}}
ingest: {{auth: none}}
sink:
  events_stream: {{type: sse, heartbeat_timeout: 1s, queue_size: 100}}
  alerts: {{type: sse, path: /live, match: alert.*}}
"""


def wait_for(what: Callable[[], Any], seconds: float = 15) -> Any:
    """Return what ``what`` returns once that is true; fail after so many seconds."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not (found := what()):
        assert time.monotonic() < deadline, f"waited {seconds} s in vain"
        pause.wait(0.01)
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Server:
    """A server process in ``folder``; its port, its log file, and ways to talk to it."""

    def __init__(self, folder: Path, *words: str) -> None:
        self.port = free_port()
        self.log = folder / "server.log"
        self.database = folder / "data" / "events.db"
        config = folder / "config.yaml"
        config.write_text(CONFIG.format(port=self.port))
        command = words or ("gunicorn", "-c", str(ROOT / "gunicorn.conf.py"), "wsgi:app")
        if command[0] == "flask":
            command = (*command, "--port", str(self.port))
        environment = {
            **os.environ,
            "SSE_SINK_CONFIG": str(config),
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=folder,
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            wait_for(self._ready, 30)
        except BaseException:
            self.stop()
            raise

    def _ready(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        with contextlib.suppress(OSError, http.client.HTTPException):
            return self.request("GET", "/readyz")[0] == 200
        return False

    def request(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        """Return status and decoded JSON of one request on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            sent = None if body is None else json.dumps(body)
            connection.request(method, path, sent, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read() or b"null")
        finally:
            connection.close()

    def publish(self, *events: dict[str, Any]) -> list[int]:
        status, answer = self.request("POST", "/ingest", list(events))
        assert status in (200, 201), answer
        ids: list[int] = answer["ids"]
        return ids

    def workers(self) -> list[int]:
        return [child.pid for child in psutil.Process(self.process.pid).children()]

    def worker_of(self, reader: Reader) -> int | None:
        """Return the process that holds the other end of a reader's connection."""
        for pid in self.workers():
            for found in psutil.Process(pid).net_connections("tcp"):
                if found.raddr and found.raddr.port == reader.own_port:
                    return pid
        return None

    def stop(self) -> None:
        """End the server and all that it started."""
        children = []
        with contextlib.suppress(psutil.NoSuchProcess):
            children = psutil.Process(self.process.pid).children(recursive=True)
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        _, left = psutil.wait_procs(children, 5)
        for child in left:
            child.kill()


class Reader:
    """One stream, read on a thread of its own; what came is in ``events``."""

    def __init__(self, server: Server, path: str = "/events_stream/") -> None:
        self.events: list[ServerEvent] = []
        self.times: list[float] = []
        self.ended = threading.Event()
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
        self._connection.request("GET", path)
        assert self._connection.sock is not None
        self._socket = self._connection.sock
        self.own_port: int = self._socket.getsockname()[1]
        self._answer = self._connection.getresponse()
        assert self._answer.status == 200, self._answer.read()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()
        wait_for(lambda: self.events)
        assert (self.events[0].event, self.events[0].data) == ("info", "connected")

    def _read(self) -> None:
        parser = Parser()
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError, AttributeError):
            while data := self._answer.read1(65536):
                self.times.append(time.perf_counter())
                self.events.extend(parser.feed(data))
        self.ended.set()

    @property
    def messages(self) -> list[dict[str, Any]]:
        return [json.loads(e.data) for e in list(self.events) if e.event == "message"]

    @property
    def ids(self) -> list[int]:
        return [message["id"] for message in self.messages]

    def wait_for_id(self, id: int) -> None:
        wait_for(lambda: id in self.ids)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._answer.close()
        self._connection.close()


@contextlib.contextmanager
def reading(server: Server, count: int, path: str = "/events_stream/") -> Iterator[list[Reader]]:
    """Give so many readers that have all read ``connected``."""
    readers: list[Reader] = []
    try:
        for _ in range(count):
            readers.append(Reader(server, path))
        yield readers
    finally:
        for reader in readers:
            reader.close()
