"""Pulled sinks while workers are killed and Redis is cut off: nothing is lost or comes twice.

Each event that was acknowledged is confirmed, none comes again after its confirmation was
answered, and none is with two consumers at a time.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from faults.test_many_nodes import Wire
from support.consumer import OPEN_PULL, Consumer, ids_of
from support.measured import Measured
from support.producer import Producer
from support.redis_server import RedisServer
from support.server import Server
from support.waiting import wait_until

SECONDS = float(os.environ.get("SSE_SINK_PULL_SECONDS", "6"))
CONSUMERS = 8
PRODUCERS = 3
LEASE_SECONDS = 1.5
SETTINGS = {"sink": {"warehouse": {**OPEN_PULL, "lease": LEASE_SECONDS}}}
FAILURES = (OSError, AssertionError, ValueError, http.client.HTTPException)


class Trial:
    """Producers and consumers, and what they know."""

    def __init__(self, servers: list[Server]) -> None:
        self._servers = servers
        self._ports = [server.port for server in servers]
        self._lock = threading.Lock()
        self.stored: set[int] = set()
        #: Events whose confirmation was answered, and those that one was sent for.
        self.confirmed: set[int] = set()
        self.sent: set[int] = set()
        # Until when nobody else may get an event.
        self.held: dict[int, float] = {}
        self.faults: list[str] = []
        self.produced = threading.Event()
        self.over = threading.Event()
        work: list[Callable[[], None]] = [self._produce] * PRODUCERS
        work += [self._consume] * CONSUMERS
        self._threads = [threading.Thread(target=each) for each in work]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def finish(self) -> None:
        """Let the consumers confirm what is left, and end them."""
        self.produced.set()
        try:
            wait_until(self._is_done, "every event that was acknowledged is confirmed")
        finally:
            self.over.set()
            for thread in self._threads:
                thread.join()
        assert not self.faults, self.faults[:5]

    def _is_done(self) -> bool:
        with self._lock:
            if self.faults:
                return True
            # The answer may be lost although the event is confirmed: then it doesn't come again.
            if not self.stored <= self.sent:
                return False
        return self._servers[0].metrics()['sse_sink_pull_lag{sink="warehouse"}'] == 0

    def _produce(self) -> None:
        while not self.produced.is_set():
            with contextlib.suppress(*FAILURES):
                with Producer(random.choice(self._ports)) as producer:
                    while not self.produced.is_set():
                        count = random.choice((1, 1, 7, 40))
                        ids = producer.post([{"event_type": "a"}] * count)
                        with self._lock:
                            self.stored.update(ids)
                        time.sleep(random.choice((0, 0.005, 0.02)))

    def _consume(self) -> None:
        while not self.over.is_set():
            with contextlib.suppress(*FAILURES), Consumer(random.choice(self._ports)) as consumer:
                while not self.over.is_set():
                    self._one_batch(consumer)

    def _one_batch(self, consumer: Consumer) -> None:
        with self._lock:
            confirmed = set(self.confirmed)
        asked = time.monotonic()
        size, wait = random.choice((1, 10, 100)), random.choice((0, 0.3))
        batch = consumer.extract(f"batch_size={size}&wait={wait}")
        ids = ids_of(batch)
        now = time.monotonic()
        with self._lock:
            for id in ids:
                if id in confirmed:
                    self.faults.append(f"{id} came again after its confirmation")
                if self.held.get(id, 0) > now:
                    self.faults.append(f"{id} is with two consumers")
                if now < asked + LEASE_SECONDS:
                    self.held[id] = asked + LEASE_SECONDS
        if not ids:
            return
        what = random.random()
        if what < 0.1:
            return
        if what < 0.2:
            with self._lock:
                for id in ids:
                    self.held.pop(id, None)
            consumer.ask("POST", f"/release?batch_id={batch['batch_id']}")
            return
        with self._lock:
            self.sent.update(ids)
        count = consumer.confirm(batch["batch_id"])
        if count == len(ids):
            with self._lock:
                self.confirmed.update(ids)


def test_workers_killed_under_consumers(tmp_path: Path, measured: Measured) -> None:
    with Server(tmp_path, SETTINGS) as server:
        trial = Trial([server])
        trial.start()
        kills = 0
        until = time.monotonic() + SECONDS
        try:
            while time.monotonic() < until:
                time.sleep(random.uniform(0.2, 0.8))
                server.kill(random.choice(server.workers()))
                kills += 1
                server.wait_for_workers(2)
        finally:
            trial.finish()
        measured("pulled through kill -9", f"{len(trial.confirmed)} events, {kills} kills")
        assert trial.confirmed
    assert "Traceback" not in server.log, server.log


@pytest.mark.timeout(180)
def test_nodes_killed_and_cut_off_from_redis(tmp_path: Path, measured: Measured) -> None:
    (tmp_path / "redis").mkdir()
    with contextlib.ExitStack() as stack:
        redis = stack.enter_context(RedisServer(tmp_path / "redis"))
        wires, nodes = [], []
        for name in ("one", "two"):
            wires.append(stack.enter_context(Wire(redis.port)))
            (tmp_path / name).mkdir()
            settings = {**SETTINGS, "database": {"url": wires[-1].url}}
            nodes.append(stack.enter_context(Server(tmp_path / name, settings)))
        trial = Trial(nodes)
        trial.start()
        until = time.monotonic() + SECONDS
        try:
            while time.monotonic() < until:
                time.sleep(random.uniform(0.2, 0.6))
                which = random.choice((0, 1))
                if random.random() < 0.5:
                    nodes[which].kill(random.choice(nodes[which].workers()))
                    nodes[which].wait_for_workers(2)
                else:
                    wires[which].is_cut = True
                    time.sleep(random.uniform(0.05, 0.4))
                    wires[which].is_cut = False
        finally:
            for wire in wires:
                wire.is_cut = False
            trial.finish()
        measured("pulled through cuts of Redis and kill -9", f"{len(trial.confirmed)} events")
        assert trial.confirmed
