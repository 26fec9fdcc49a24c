"""Two nodes and a Redis, cut off from each other, stopped and killed at random."""

from __future__ import annotations

import contextlib
import os
import random
import selectors
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults.test_nothing_missed import SECONDS, SINK, Trial, narrowable
from flask_sse_sink.log.redis.log import RedisLog
from support.logs import events_in
from support.measured import Measured
from support.redis_server import RedisServer
from support.server import Server
from support.stream import SocketStream
from support.waiting import WAIT_SECONDS, wait_until

CLIENTS = int(os.environ.get("SSE_SINK_NODE_CLIENTS", "40"))
PRODUCERS = int(os.environ.get("SSE_SINK_NODE_PRODUCERS", "6"))
PLAIN = 6
PLAIN_SINK = {"type": "sse", "queue_size": 1_000_000, "heartbeat_timeout": 1}


class Wire:
    """A way to a port that can be cut: then it takes no connection, and ends those there are."""

    def __init__(self, port: int) -> None:
        self._to = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._other: dict[socket.socket, socket.socket] = {}
        self._stop = False
        self.is_cut = False
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def _run(self) -> None:
        while not self._stop:
            for key, _ in self._selector.select(0.02):
                if key.fileobj is self._listener:
                    self._accept()
                elif isinstance(key.fileobj, socket.socket) and key.fileobj in self._other:
                    self._pass_on(key.fileobj)
            if self.is_cut:
                for each in list(self._other):
                    self._end(each)
        for each in list(self._other):
            self._end(each)

    def _accept(self) -> None:
        near, _ = self._listener.accept()
        if self.is_cut:
            near.close()
            return
        try:
            far = socket.create_connection(self._to)
        except OSError:
            near.close()
            return
        for one, other in ((near, far), (far, near)):
            self._other[one] = other
            self._selector.register(one, selectors.EVENT_READ)

    def _pass_on(self, one: socket.socket) -> None:
        try:
            data = one.recv(1 << 16)
            if data:
                self._other[one].sendall(data)
                return
        except OSError:
            pass
        self._end(one)

    def _end(self, one: socket.socket) -> None:
        other = self._other.pop(one, None)
        for each in (one, other):
            if each is not None:
                self._other.pop(each, None)
                with contextlib.suppress(KeyError, ValueError):
                    self._selector.unregister(each)
                each.close()

    def close(self) -> None:
        self._stop = True
        self._thread.join()
        self._listener.close()
        self._selector.close()

    def __enter__(self) -> Wire:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Plain(threading.Thread):
    """A client of the sink without replay, that holds each connection as long as it lasts."""

    def __init__(self, servers: list[Server], seed: int, stop: threading.Event) -> None:
        super().__init__()
        self.servers = servers
        self.chance = random.Random(seed)
        self.stop = stop
        self.connections: list[list[int]] = []
        self.error: BaseException | None = None

    def run(self) -> None:
        while not self.stop.is_set():
            with contextlib.suppress(OSError, EOFError):
                port = self.chance.choice(self.servers).port
                with SocketStream(port, "/plain/") as stream:
                    if stream.status == 200:
                        self.connections.append([])
                        self._read(stream, self.connections[-1])
            time.sleep(0.05)

    def _read(self, stream: SocketStream, ids: list[int]) -> None:
        while not self.stop.is_set():
            found = stream.next(heartbeats=True)
            if found.event == "message":
                ids.append(int(found.id))

    def check(self) -> int:
        """Fail unless each connection had every event from its first on; return how many."""
        for ids in self.connections:
            assert ids == list(range(ids[0], ids[0] + len(ids))) if ids else True, ids[:50]
        return sum(map(len, self.connections))


def _cause_trouble(
    chance: random.Random, redis: RedisServer, wires: list[Wire], servers: list[Server]
) -> str:
    what = chance.choice(("cut", "cut", "kill", "stop", "reload", "worker"))
    if what == "cut":
        wire = chance.choice(wires)
        wire.is_cut = True
        time.sleep(chance.uniform(0.1, 1))
        wire.is_cut = False
    elif what == "kill":
        redis.stop(signal.SIGKILL)
        time.sleep(chance.uniform(0, 0.5))
        redis.start()
    elif what == "stop":
        os.kill(redis.pid, signal.SIGSTOP)
        time.sleep(chance.uniform(0.1, 1))
        os.kill(redis.pid, signal.SIGCONT)
    elif what == "reload":
        os.kill(chance.choice(servers).pid, signal.SIGHUP)
    else:
        with contextlib.suppress(OSError):
            os.kill(chance.choice(chance.choice(servers).workers()), signal.SIGKILL)
    return what


@contextlib.contextmanager
def two_nodes(folder: Path) -> Iterator[tuple[RedisServer, list[Wire], list[Server]]]:
    with contextlib.ExitStack() as stack:
        (folder / "redis").mkdir()
        redis = stack.enter_context(RedisServer(folder / "redis"))
        wires, servers = [], []
        for name in ("one", "other"):
            wires.append(stack.enter_context(Wire(redis.port)))
            (folder / name).mkdir()
            servers.append(
                stack.enter_context(
                    Server(
                        folder / name,
                        {
                            "server": {"workers": 1, "max_clients": 300},
                            "sink": {"events_stream": SINK, "plain": PLAIN_SINK},
                            "database": {"url": wires[-1].url},
                        },
                    )
                )
            )
        yield redis, wires, servers


@pytest.mark.timeout(240 + 20 * SECONDS)
def test_nodes_that_are_cut_off_lose_nothing(tmp_path: Path, measured: Measured) -> None:
    seed = random.randrange(1 << 30)
    print("seed", seed)
    chance = random.Random(seed)
    troubles: list[str] = []
    with two_nodes(tmp_path) as (redis, wires, servers):
        log = RedisLog(redis.url)
        with Trial(servers, seed, CLIENTS, PRODUCERS) as trial:
            plain = [Plain(servers, seed + n, trial.stop) for n in range(PLAIN)]
            for each in plain:
                each.start()
            until = time.monotonic() + 2 * SECONDS
            while time.monotonic() < until:
                time.sleep(chance.uniform(0.3, 1))
                troubles.append(_cause_trouble(chance, redis, wires, servers))
            # Whoever was refused a moment ago is let in again.
            for server in servers:
                wait_until(lambda: server.answers("/readyz") == 200, "it is ready")  # noqa: B023
            stored = trial.finish(lambda: events_in(log, limit=10**7))
            trial.stop.set()
            for each in plain:
                each.join(WAIT_SECONDS)
        log.close()
    assert [event.id for event in stored] == list(range(1, len(stored) + 1))
    by_id = {event.id: narrowable(event) for event in stored}
    for id, event in trial.known.items():
        assert by_id[id] == narrowable(event), "an answered event is not stored"
    for follower in trial.followers:
        follower.check(stored)
        assert not follower.missed
    had = sum(each.check() for each in plain)
    got = sum(len(follower.ids) for follower in trial.followers)
    assert got > 1000 and had > 100
    measured(
        f"2 nodes and Redis, {len(troubles)} cuts, stops, reloads and kills",
        f"{CLIENTS} clients with replay got {got:,} messages of {len(stored):,} events, each all; "
        f"{PLAIN} without {had:,}, no gap within a connection",
    )
