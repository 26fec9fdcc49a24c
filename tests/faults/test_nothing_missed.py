"""Clients of a sink with replay that are cut and come back: all that they want, once, in order."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from msgspec import Raw

from flask_sse_sink.event import Event, Source
from flask_sse_sink.filters import parse_query
from flask_sse_sink.log.sqlite.log import SQLiteLog
from support.http1 import AnswerReader
from support.logs import events_in
from support.measured import Measured
from support.server import Server
from support.sse import Parser, ServerEvent
from support.stream import STREAM_PATH
from support.waiting import WAIT_SECONDS, wait_until

SECONDS = float(os.environ.get("SSE_SINK_REPLAY_SECONDS", "4"))
CLIENTS = 40
TYPES = ("a.1", "a.2", "b.1", "b.2", "c")
ENTITIES = (None, None, "u", "u,v", "é:%", "x" * 255)
SOURCES = ("s", "s,t", "ü")
# What clients narrow by: each is a query.
FILTERS: tuple[dict[str, list[str]], ...] = (
    {},
    {},
    {"event_type": ["a.*"]},
    {"event_type": ["b.1"]},
    {"event_type": ["a.1,b.*"]},
    {"event_type": ["c,none.*"]},
    {"event_type": ["none"]},
    {"entity_id": ["u"]},
    {"entity_id": ["u,v", "é:%"]},
    {"entity_id": ["u,nobody"], "event_type": ["a.*"]},
    {"entity_id": ["x" * 255], "source": ["s,t", "ü"]},
    {"source": ["s"]},
    {"source": ["s", "ü"], "event_type": ["a.*,c"]},
    {"entity_id": ["nobody"]},
)
SINK = {
    "replay": True,
    "queue_size": 30,
    "queue_bytes": "64KiB",
    "heartbeat_timeout": 0.1,
    "write_timeout": 20,
    "retry": 0.05,
}


class Follower(threading.Thread):
    """One client, that hangs up after so many bytes or is cut, and comes back as a browser does.

    It keeps the ids of the messages it got and the ranges that it was told it had missed.
    """

    def __init__(self, ports: Sequence[int], seed: int, stop: threading.Event) -> None:
        super().__init__()
        self.ports = ports
        self.chance = random.Random(seed)
        self.stop = stop
        self.wanted = self.chance.choice(FILTERS)
        self.last = ""
        self.began = -1
        self.until = 1 << 62
        self.ids: list[int] = []
        self.missed: list[tuple[int, int]] = []
        self.cuts = 0
        self.unread = 0
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            while not self.is_done() and not self.stop.is_set():
                with contextlib.suppress(OSError, EOFError):
                    self._one_connection()
                self.cuts += 1
                time.sleep(self.chance.choice((0, 0.01, 0.1)))
        except BaseException as error:
            self.error = error

    def is_done(self) -> bool:
        return bool(self.last) and int(self.last) >= self.until

    def _one_connection(self) -> None:
        query = urlencode(self.wanted, doseq=True)
        headers = ["Host: localhost"]
        if self.last and self.chance.random() < 0.5:
            query += f"&last_event_id={self.last}"
        elif self.last:
            headers.append(f"Last-Event-ID: {self.last}")
        pace = self.chance.choice((1, 100, 3_000, 1 << 16, 1 << 16))
        pause = self.chance.choice((0, 0, 0.001, 0.05)) if pace > 1 else 0
        left = self.chance.choice((10, 500, 5_000, 100_000, 1 << 30))
        with socket.socket() as made:
            made.settimeout(WAIT_SECONDS)
            if self.chance.random() < 0.3:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            made.connect(("127.0.0.1", self.chance.choice(self.ports)))
            request = f"GET {STREAM_PATH}?{query} HTTP/1.1\r\n" + "\r\n".join(headers)
            made.sendall(request.encode() + b"\r\n\r\n")
            parser = Parser()
            for body in self._bodies(made, pace, pause, left):
                for event in parser.feed(body):
                    self._take(event)

    def _bodies(self, made: socket.socket, pace: int, pause: float, left: int) -> Iterator[bytes]:
        """Yield what comes of a 200's body until it has read its fill."""
        answer = AnswerReader()
        while not self.is_done() and not self.stop.is_set():
            hurry = self.until < 1 << 62
            if left <= 0 and not hurry:
                return
            data = made.recv(1 << 16 if hurry else pace)
            if not data:
                raise EOFError
            left -= len(data)
            body = answer.feed(data)
            if answer.head and answer.status != 200:
                assert answer.status == 503, answer.head
                raise EOFError
            yield body
            if answer.ended:
                raise EOFError
            if pause and not hurry:
                time.sleep(pause)

    def _take(self, event: ServerEvent) -> None:
        if self.began < 0 and event.id:
            assert event.data == "connected"
            self.began = int(event.id)
        if event.event == "message":
            assert json.loads(event.data)["id"] == int(event.id)
            assert int(event.id) > int(self.last), "a step back"
            self.ids.append(int(event.id))
        elif event.data.startswith("missed "):
            found = json.loads(event.data.removeprefix("missed "))
            assert found["reason"] == "pruned"
            self.missed.append((found["first_id"], found["last_id"]))
        if event.id:
            assert int(event.id) >= int(self.last or 0), "a step back"
            self.last = event.id

    def check(self, stored: Sequence[Event]) -> None:
        """Fail unless it has all that it wanted, but for what it was told to be gone."""
        filter = parse_query(self.wanted)
        wanted = [event.id for event in stored if event.id > self.began and filter.matches(event)]
        got = set(self.ids)
        gaps = [
            id
            for id in wanted
            if id not in got and not any(first <= id <= last for first, last in self.missed)
        ]
        assert not gaps, (self.wanted, self.began, gaps[:10], self.missed[:5])
        assert got <= set(wanted)
        assert self.ids == sorted(got)
        if not self.missed:
            assert self.ids == wanted


def pour(
    servers: Sequence[Server],
    seed: int,
    stop: threading.Event,
    most: float,
    known: dict[int, Event],
) -> None:
    """Publish random batches, each until it is answered, and note what was stored."""
    chance = random.Random(seed)
    turn = 0
    began = time.monotonic()
    while not stop.is_set():
        turn += 1
        batch = [
            {
                "event_type": chance.choice(TYPES),
                "entity_id": chance.choice(ENTITIES),
                "source": chance.choice(SOURCES),
                "event_id": f"{seed}-{turn}-{n}",
                "data": "x" * chance.choice((0, 100, 3_000)),
            }
            for n in range(chance.choice((1, 1, 5, 50)))
        ]
        while not stop.is_set():
            with contextlib.suppress(OSError, http.client.HTTPException, AssertionError):
                for id, event in zip(chance.choice(servers).post(batch), batch, strict=True):
                    known[id] = _stored_event(id, event)
                break
        stop.wait(max(0, began + turn / most - time.monotonic()))


def _stored_event(id: int, event: dict[str, Any]) -> Event:
    """Return an event as it is stored, in what filters look at."""
    source = Source(0, event["source"])
    nothing = Raw(b"{}")
    entity_id = event["entity_id"]
    return Event(id, "", event["event_type"], entity_id, "", nothing, source, nothing)


def narrowable(event: Event) -> tuple[str, str | None, str]:
    """Return what filters look at."""
    return event.event_type, event.entity_id, event.source.name


def all_stored(database: Path) -> list[Event]:
    with contextlib.closing(SQLiteLog(database)) as log:
        return events_in(log, limit=10**7)


class Trial:
    """Followers and producers at a server, until every follower has come to the end."""

    def __init__(
        self, servers: Sequence[Server], seed: int, clients: int = CLIENTS, producers: int = 3
    ) -> None:
        self.no_more = threading.Event()
        self.stop = threading.Event()
        ports = [server.port for server in servers]
        self.followers = [Follower(ports, seed + n, self.stop) for n in range(clients)]
        #: What was stored, as far as it was answered, by id.
        self.known: dict[int, Event] = {}
        self.producers = [
            threading.Thread(
                target=pour, args=(servers, seed + n, self.no_more, 90 / producers, self.known)
            )
            for n in range(producers)
        ]

    def __enter__(self) -> Trial:
        for follower in self.followers:
            follower.start()
        wait_until(lambda: all(f.began >= 0 or f.error for f in self.followers), "all follow")
        for producer in self.producers:
            producer.start()
        return self

    def finish(self, all_stored: Callable[[], list[Event]]) -> list[Event]:
        """Let everybody come to the end, and return what is stored."""
        self.no_more.set()
        for producer in self.producers:
            producer.join()
        stored = all_stored()
        for follower in self.followers:
            follower.until = stored[-1].id
        wait_until(lambda: not any(f.is_alive() for f in self.followers), "all are done", 60)
        for follower in self.followers:
            if follower.error is not None:
                raise follower.error
        return stored

    def __exit__(self, *_: object) -> None:
        self.no_more.set()
        self.stop.set()
        for thread in (*self.producers, *self.followers):
            thread.join()


@pytest.mark.timeout(180 + 10 * SECONDS)
@pytest.mark.usefixtures("both_ways")
def test_cuts_reloads_and_kills_lose_nothing(tmp_path: Path, measured: Measured) -> None:
    seed = random.randrange(1 << 30)
    print("seed", seed)
    chance = random.Random(seed)
    faults = 0
    with Server(
        tmp_path, {"server": {"max_clients": 200}, "sink": {"events_stream": SINK}}
    ) as server:
        with Trial([server], seed) as trial:
            until = time.monotonic() + SECONDS
            while time.monotonic() < until:
                time.sleep(chance.uniform(0.3, 1))
                if chance.random() < 0.5:
                    os.kill(server.pid, signal.SIGHUP)
                else:
                    with contextlib.suppress(OSError):
                        os.kill(chance.choice(server.workers()), signal.SIGKILL)
                faults += 1
            stored = trial.finish(lambda: all_stored(server.database))
        for follower in trial.followers:
            follower.check(stored)
        replayed = server.metrics().get(
            'sse_sink_deliveries_total{sink="events_stream",way="replay"}', 0
        )
        assert replayed > 0
    cuts = sum(follower.cuts for follower in trial.followers)
    got = sum(len(follower.ids) for follower in trial.followers)
    assert got > 1000
    measured(
        f"{CLIENTS} clients of a sink with replay, {cuts} cuts, {faults} reloads and kills",
        f"each all of {len(stored):,} events that its filter lets through; {got:,} in all",
    )


@pytest.mark.timeout(180 + 10 * SECONDS)
@pytest.mark.usefixtures("both_ways")
def test_what_is_pruned_meanwhile_is_told(tmp_path: Path, measured: Measured) -> None:
    seed = random.randrange(1 << 30)
    print("seed", seed)
    with Server(
        tmp_path,
        {
            "server": {"max_clients": 200},
            "sink": {"events_stream": SINK},
            "database": {"retention_count": 200},
        },
    ) as server:
        with Trial([server], seed) as trial:
            time.sleep(SECONDS)
            trial.finish(lambda: all_stored(server.database))
        # What was stored is pruned by now.
        assert sorted(trial.known) == list(range(1, len(trial.known) + 1))
        for follower in trial.followers:
            follower.check([event for _, event in sorted(trial.known.items())])
    told = sum(len(follower.missed) for follower in trial.followers)
    got = sum(len(follower.ids) for follower in trial.followers)
    assert got > 1000
    measured(
        f"the same under `retention_count: 200`, {len(trial.known):,} events",
        f"{got:,} messages, {told} times `missed`, nothing in silence",
    )
