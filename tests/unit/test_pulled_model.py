"""What pulled sinks do, compared with a few lines of obvious Python, over both logs."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from flask_sse_sink.config.settings import DatabaseSettings
from flask_sse_sink.filters import EVERYTHING, parse
from flask_sse_sink.log import open_log
from flask_sse_sink.log.deliveries import deliveries_of
from flask_sse_sink.pull.consumption import Consumption
from flask_sse_sink.pull.place import Rules
from flask_sse_sink.pull.pruning import PruneGuard
from flask_sse_sink.submission import new_event
from support.redis_server import RedisServer

MAX_ATTEMPTS = 3
TYPES = ("a.x", "a.y", "b")
MATCHES = {"all": "*", "some": "a.*"}
SINKS = st.sampled_from(sorted(MATCHES))
FILTERS = st.sampled_from(["*", "*", "a.*", "a.x", "b"])
SECONDS = st.sampled_from([0, 0, 5, 20])


def lets_through(pattern: str, event_type: str) -> bool:
    return pattern in ("*", event_type) or (pattern == "a.*" and event_type.startswith("a."))


class Model:
    """One sink, obvious and slow: a record of every event."""

    def __init__(self, match: str) -> None:
        self.match = match
        self.events: dict[int, str] = {}
        self.confirmed: set[int] = set()
        self.busy_until: dict[int, int] = {}
        self.leased: dict[int, bool] = {}
        self.leaser: dict[int, int] = {}
        self.attempts: dict[int, int] = {}
        self.dead: set[int] = set()
        self.batches: dict[int, list[int]] = {}
        self.missed: set[int] = set()
        self.told: dict[int, set[int]] = {}

    def store(self, id: int, event_type: str) -> None:
        if lets_through(self.match, event_type):
            self.events[id] = event_type

    def bury(self, now: int) -> None:
        for id, count in self.attempts.items():
            if count >= MAX_ATTEMPTS and self.busy_until.get(id, 0) <= now:
                self.dead.add(id)

    def free(self, pattern: str, now: int) -> list[int]:
        self.bury(now)
        return [
            id
            for id, event_type in sorted(self.events.items())
            if lets_through(pattern, event_type)
            and id not in self.confirmed | self.dead
            and self.busy_until.get(id, 0) <= now
        ]

    def took(self, batch: int, ids: list[int], until: int) -> None:
        self.batches[batch] = ids
        self.told[batch] = set(self.missed)
        for id in ids if until else ():
            self.busy_until[id] = until
            self.leased[id] = True
            self.leaser[id] = batch
            self.attempts[id] = self.attempts.get(id, 0) + 1

    def mine(self, batch: int) -> list[int]:
        return [id for id in self.batches[batch] if self.leaser.get(id, 0) <= batch]

    def confirm(self, batch: int, part: set[int] | None) -> int:
        ids = {
            id
            for id in self.mine(batch)
            if (part is None or id in part) and id in self.events and id not in self.confirmed
        }
        if part is None or set(self.batches[batch]) <= part:
            if self.batches[batch]:
                self.missed -= self.told[batch]
            self.batches[batch] = []
        else:
            self.batches[batch] = [id for id in self.batches[batch] if id not in part]
        self.confirmed |= ids
        self.dead -= ids
        for id in ids:
            self.attempts.pop(id, None)
        return len(ids)

    def lease_of(self, batch: int) -> list[int]:
        return [
            id
            for id in self.batches[batch]
            if self.leaser.get(id) == batch
            and self.leased.get(id)
            and id in self.events
            and id not in self.confirmed | self.dead
        ]

    def prune(self, through: int) -> None:
        for id in [id for id in self.events if id <= through]:
            if id not in self.confirmed:
                self.missed.add(id)
            del self.events[id]


def has_batches(machine: Machine) -> bool:
    return bool(getattr(machine, "batches", []))


class Machine(RuleBasedStateMachine):
    """Two sinks over one log, with a clock that the test moves."""

    url = ""

    @initialize()
    def open(self) -> None:
        self.now = 1_000_000
        self.log: Any = open_log(DatabaseSettings(url=self.make_url()))
        store: Any = cast(Any, deliveries_of(self.log))
        store.clock = lambda: self.now
        self.sinks: dict[str, tuple[Consumption, PruneGuard]] = {}
        self.models: dict[str, Model] = {}
        for name, match in MATCHES.items():
            rules = Rules(parse([match]), "earliest", MAX_ATTEMPTS)
            consumption = Consumption(self.log, store, name, rules)
            consumption.place.open()
            self.sinks[name] = consumption, PruneGuard(self.log, store, name, rules, 0)
            self.models[name] = Model(match)
        self.batches: list[tuple[str, int]] = []
        self.count = 0

    def make_url(self) -> str:
        raise NotImplementedError

    def teardown(self) -> None:
        if hasattr(self, "log"):
            self.log.close()

    @rule(types=st.lists(st.sampled_from(TYPES), min_size=1, max_size=6))
    def store(self, types: list[str]) -> None:
        ids = self.log.append([new_event(name) for name in types]).ids
        for id, name in zip(ids, types, strict=True):
            for model in self.models.values():
                model.store(id, name)

    @rule(seconds=st.sampled_from([1, 6, 30]))
    def let_time_pass(self, seconds: int) -> None:
        self.now += seconds * 1_000_000

    @rule(name=SINKS, pattern=FILTERS, limit=st.integers(1, 5), seconds=SECONDS)
    def extract(self, name: str, pattern: str, limit: int, seconds: int) -> None:
        lease = seconds * 1_000_000
        model = self.models[name]
        filter = EVERYTHING if pattern == "*" else parse([pattern])
        free = model.free(pattern, self.now)
        batch = self.sinks[name][0].extraction.extract(filter, limit, lease)
        ids = [id for id, _ in batch.envelopes]
        assert ids == free[:limit]
        assert batch.remaining == max(0, len(free) - limit)
        assert (batch.missed.count if batch.missed else 0) == len(model.missed)
        assert bool(batch.id) == bool(ids)
        if ids:
            assert batch.id not in [each for _, each in self.batches]
            self.batches.append((name, batch.id))
            model.took(batch.id, ids, self.now + lease if lease else 0)
            out_before = {id: model.attempts[id] for id in ids if model.attempts.get(id, 0) > 1}
            assert batch.attempts == (out_before if lease else {})

    @precondition(has_batches)
    @rule(data=st.data())
    def confirm(self, data: st.DataObject) -> None:
        name, batch = data.draw(st.sampled_from(self.batches))
        ids = self.models[name].batches[batch]
        whole = data.draw(st.booleans())
        part = None if whole or not ids else data.draw(st.sets(st.sampled_from(ids)))
        expected = self.models[name].confirm(batch, part)
        assert self.sinks[name][0].confirm(batch, part) == expected

    @precondition(has_batches)
    @rule(data=st.data(), seconds=SECONDS)
    def extend(self, data: st.DataObject, seconds: int) -> None:
        name, batch = data.draw(st.sampled_from(self.batches))
        model = self.models[name]
        leased = model.lease_of(batch)
        count, until = self.sinks[name][0].extend(batch, seconds * 1_000_000)
        assert (count, until) == (len(leased), self.now + seconds * 1_000_000)
        for id in leased:
            model.busy_until[id] = until

    @precondition(has_batches)
    @rule(data=st.data(), seconds=SECONDS)
    def release(self, data: st.DataObject, seconds: int) -> None:
        name, batch = data.draw(st.sampled_from(self.batches))
        model = self.models[name]
        leased = model.lease_of(batch)
        assert self.sinks[name][0].release(batch, seconds * 1_000_000) == len(leased)
        for id in leased:
            model.busy_until[id] = self.now + seconds * 1_000_000
            model.leased[id] = False
            if model.attempts[id] >= MAX_ATTEMPTS:
                model.dead.add(id)

    @rule(name=SINKS)
    def dead_letters(self, name: str) -> None:
        model = self.models[name]
        model.bury(self.now)
        letters = self.sinks[name][0].dead(0, 100)
        assert [stored[0] for stored, _ in letters] == sorted(model.dead & set(model.events))

    @rule(name=SINKS)
    def retry(self, name: str) -> None:
        model = self.models[name]
        model.bury(self.now)
        dead = model.dead & set(model.events)
        assert self.sinks[name][0].retry() == len(dead)
        for id in dead:
            model.busy_until[id] = model.attempts[id] = 0
            model.leased[id] = False
        model.dead -= dead

    @rule(keep=st.integers(1, 20))
    def prune(self, keep: int) -> None:
        def before_prune(through: int) -> int:
            for name, (_, guard) in self.sinks.items():
                self.models[name].prune(through)
                through = guard.before_prune(through)
            return through

        self.log.prune(0, 1000, keep, before_prune=before_prune)
        for consumption, _ in self.sinks.values():
            consumption.place.advance()

    @invariant()
    def rows_are_few(self) -> None:
        for status in self.log.deliveries.status() if hasattr(self, "log") else ():
            model = self.models[status.name]
            unsettled = set(model.leaser) - model.confirmed
            assert status.out + status.waiting + status.dead <= len(unsettled)
            assert status.confirmed_above <= len(model.confirmed)
            if not set(model.events) - model.confirmed:
                # Nothing is out of order, so that nothing is kept.
                assert status.out + status.waiting + status.confirmed_above == 0


def run(machine: type[Machine], examples: int) -> None:
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            print_blob=True,
        ),
    )


def test_the_sqlite_log_does_what_the_model_does(tmp_path: Path) -> None:
    class OverSQLite(Machine):
        def make_url(self) -> str:
            folder = tempfile.mkdtemp(dir=tmp_path)
            return f"sqlite:///{folder}/events.db"

    run(OverSQLite, settings().max_examples)


@pytest.mark.timeout(300)
def test_the_redis_log_does_what_the_model_does(redis_server: RedisServer) -> None:
    class OverRedis(Machine):
        def make_url(self) -> str:
            redis_server.call("FLUSHALL")
            return redis_server.url

    run(OverRedis, settings().max_examples)


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_a_last_lease_that_is_cut_to_nothing_makes_a_dead_letter(
    kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = f"sqlite:///{tmp_path}/events.db"
    if kind == "redis":
        server = request.getfixturevalue("redis_server")
        server.call("FLUSHALL")
        url = server.url
    log = open_log(DatabaseSettings(url=url))
    try:
        pulled = Consumption(log, deliveries_of(log), "p", Rules(EVERYTHING, "earliest", 1))
        pulled.place.open()
        log.append([new_event("a"), new_event("a")])
        batch = pulled.extraction.extract(EVERYTHING, 1, 60_000_000)
        assert pulled.extend(batch.id, 0)[0] == 1
        assert [id for id, _ in pulled.extraction.extract(EVERYTHING, 10).envelopes] == [2]
        assert [stored[0] for stored, _ in pulled.dead(0, 10)] == [1]
    finally:
        log.close()
