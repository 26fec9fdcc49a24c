"""A real server in processes of its own."""

from __future__ import annotations

import contextlib
import http.client
import sqlite3
import ssl
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import yaml

from support.processes import Process, environment, free_port, gunicorn_command
from support.producer import Producer
from support.settings import Settings, merged, with_ingest
from support.stream import STREAM_PATH, SocketStream
from support.waiting import WAIT_SECONDS, wait_until


class Server(Process):
    """A server that was started in ``folder`` from a configuration written there.

    ``settings`` are shaped like config.yaml and change these defaults: two workers of 100 streams,
    a log in the folder, and one sink, ``events_stream``. ``command`` makes the command line from
    the port; by default it is gunicorn's, with these ``arguments``. The server has started once
    the path ``ready`` answers, over TLS if ``tls`` says so.
    """

    #: Whether servers are to send directly; tests of streams run both ways.
    direct_send = True

    def __init__(
        self,
        folder: Path,
        settings: Settings | None = None,
        *,
        arguments: Sequence[str] = (),
        command: Callable[[int], list[str]] | None = None,
        tls: bool = False,
        ready: str = "/readyz",
    ) -> None:
        self.tls = tls
        self.database = folder / "events.db"
        self.settings = with_ingest(merged(self._defaults(), settings or {}))
        self.port: int = self.settings["server"]["port"]
        #: What publishes to the server names this token.
        self.token: str = next(iter(self.settings["ingest"].get("tokens", [])), "")
        self.config = folder / "config.yaml"
        self.configure({})
        super().__init__(
            command(self.port) if command else gunicorn_command(folder, *arguments),
            folder,
            environment(self.config),
        )
        try:
            wait_until(lambda: self._is_up(ready), f"{self.url(ready)} answers")
            if not command:
                self.wait_for_workers(self.settings["server"]["workers"])
        except BaseException:
            print(self.log)
            self.stop()
            raise

    def _defaults(self) -> Settings:
        return {
            "server": {
                "port": free_port(),
                "workers": 2,
                "max_clients": 100,
                "direct_send": self.direct_send,
            },
            "database": {"url": f"sqlite:///{self.database}"},
            "sink": {"events_stream": {"type": "sse"}},
        }

    def configure(self, changes: Settings) -> None:
        """Write the configuration anew, with these changes; a reload reads it."""
        self.config.write_text(yaml.safe_dump(merged(self.settings, changes), sort_keys=False))

    def metrics_text(self) -> str:
        """Return what `/metrics` tells."""
        with urllib.request.urlopen(self.url("/metrics"), timeout=WAIT_SECONDS) as answer:
            return str(answer.read(), "utf-8")

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
            now = self.metrics()
            differing = {k: now.get(k) for k, value in expected.items() if now.get(k) != value}
            if not differing:
                return
            assert time.monotonic() < until, differing
            while_waiting()
            time.sleep(0.01)

    def url(self, path: str = STREAM_PATH) -> str:
        """Return a URL of the server."""
        return f"http://127.0.0.1:{self.port}{path}"

    def _is_up(self, path: str) -> bool:
        assert not self.is_gone, self.log
        return self.answers(path) == 200

    def answers(self, path: str) -> int:
        """Return the status of a GET, 0 where nobody answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_SECONDS)
        if self.tls:
            context = ssl._create_unverified_context()
            connection = http.client.HTTPSConnection("127.0.0.1", self.port, context=context)
        try:
            connection.request("GET", path)
            return connection.getresponse().status
        except (OSError, http.client.HTTPException):
            return 0
        finally:
            connection.close()

    def owner(self, local_port: int) -> int:
        """Return which worker accepted the connection from this port of ours."""
        owners: list[int] = []

        def is_accepted() -> bool:
            for pid in self.workers():
                for connection in psutil.Process(pid).net_connections("tcp"):
                    if connection.raddr and connection.raddr.port == local_port:
                        owners.append(pid)
            return bool(owners)

        wait_until(is_accepted, "a worker owns the connection")
        return owners[0]

    def stream(self, query: str = "", receive_buffer: int = 0) -> SocketStream:
        """Open a stream, past its first event."""
        stream = SocketStream(self.port, f"{STREAM_PATH}{query}", receive_buffer)
        try:
            assert stream.status == 200, stream.head
            first = stream.next()
            assert (first.event, first.data) == ("info", "connected")
        except BaseException:
            stream.close()
            raise
        return stream

    def connection(self) -> Producer:
        """Open a connection to publish on."""
        return Producer(self.port, self.token)

    def post(self, events: object) -> list[int]:
        """Publish on a connection of its own, and return the ids."""
        with self.connection() as producer:
            return producer.post(events)

    @contextlib.contextmanager
    def one_of_each_worker(self, make: Callable[[], Any]) -> Iterator[dict[int, Any]]:
        """Open connections until every worker owns one; yield them by their worker's pid."""
        opened: list[Any] = []
        by_worker: dict[int, Any] = {}
        try:
            while len(by_worker) < len(self.workers()):
                assert len(opened) < 90, "one worker takes every connection"
                opened.append(make())
                by_worker.setdefault(self.owner(opened[-1].local_port), opened[-1])
            for spare in opened:
                if spare not in by_worker.values():
                    spare.close()
            yield by_worker
        finally:
            for connection in opened:
                connection.close()

    def stored(self) -> list[tuple[int, str]]:
        """Return id and event id of every event in the log's file."""
        with contextlib.closing(sqlite3.connect(self.database)) as db:
            return db.execute("SELECT id, event_id FROM events ORDER BY id").fetchall()
