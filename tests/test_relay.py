"""From the log into the signal, and what retention deletes."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from flask_sse_sink import relay as relay_module
from flask_sse_sink.event import Event, NewEvent, new_event
from flask_sse_sink.exceptions import LogUnavailable
from flask_sse_sink.log import sqlite
from flask_sse_sink.log.sqlite import SQLiteLog
from flask_sse_sink.relay import PAGE, Relay
from flask_sse_sink.retention import STEP, Retention


class _Log(SQLiteLog):
    """A log whose reading side can be taken away."""

    away = False

    def read(self, after: int, limit: int) -> list[Event]:
        self._fail()
        return super().read(after, limit)

    def tail(self, after: int, timeout: float) -> int:
        self._fail()
        return super().tail(after, timeout)

    def _fail(self) -> None:
        if self.away:
            raise LogUnavailable("away")


@pytest.fixture
def log(tmp_path: Path) -> Iterator[_Log]:
    log = _Log(tmp_path / "events.db")
    log.check()
    yield log
    log.close()


class _Seen:
    """What was emitted; waits without sleeping."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self._changed = threading.Condition()

    def emit(self, events: Sequence[Event]) -> None:
        with self._changed:
            self.ids += [event.id for event in events]
            self._changed.notify_all()

    def wait_for(self, ids: list[int]) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.ids) >= len(ids), 30), self.ids
            assert self.ids == ids


@pytest.fixture
def seen() -> _Seen:
    return _Seen()


@pytest.fixture
def relay(log: _Log, seen: _Seen) -> Iterator[Relay]:
    relay = Relay(log, seen.emit)
    yield relay
    relay.stop()


def _events(count: int) -> list[NewEvent]:
    return [new_event("a") for _ in range(count)]


def _until(condition: Callable[[], bool]) -> None:
    pause, deadline = threading.Event(), time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        pause.wait(0.01)


def test_a_relay_starts_after_the_newest_event(log: _Log, seen: _Seen, relay: Relay) -> None:
    log.append(_events(3))
    assert (relay.cursor, relay.loop.alive) == (-1, False)
    relay.start()
    assert (relay.cursor, relay.loop.alive) == (3, True)
    log.append(_events(2))
    relay.pump()
    seen.wait_for([4, 5])
    relay.stop()
    assert not relay.loop.alive


def test_what_another_log_stored_is_delivered_without_a_pump(
    log: _Log, seen: _Seen, relay: Relay
) -> None:
    relay.start()
    other = SQLiteLog(log.path)
    for _ in range(3):
        other.append(_events(2))
    other.close()
    seen.wait_for([1, 2, 3, 4, 5, 6])


def test_concurrent_pumps_deliver_every_event_once_in_order(
    log: _Log, seen: _Seen, relay: Relay
) -> None:
    relay.start()

    def work(_: int) -> None:
        for _ in range(20):
            log.append(_events(2))
            relay.pump_stored()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    seen.wait_for(list(range(1, 321)))
    assert relay.cursor == 320


def test_who_joins_sees_every_event_after_the_cursor_and_none_before(
    log: _Log, seen: _Seen, relay: Relay
) -> None:
    relay.start()
    joined: list[tuple[int, int]] = []

    def write(_: int) -> None:
        for _ in range(30):
            log.append(_events(1))
            relay.pump_stored()

    def join(_: int) -> None:
        for _ in range(10):
            places: list[int] = []
            cursor = relay.join(lambda places=places: places.append(len(seen.ids)))  # type: ignore[misc]
            joined.append((cursor, places[0]))

    with ThreadPoolExecutor(6) as pool:
        for done in [pool.submit(w, 0) for w in (write, join) * 3]:
            done.result(60)
    seen.wait_for(list(range(1, 91)))
    assert len(joined) == 30
    # Ids count from 1: the place in the list at which one joined is the cursor.
    assert all(cursor == place for cursor, place in joined)


def test_joining_delivers_what_is_stored_first(log: _Log, seen: _Seen, relay: Relay) -> None:
    relay._cursor = 0
    log.append(_events(PAGE + 3))
    before: list[int] = []
    assert relay.join(lambda: before.append(len(seen.ids))) == PAGE + 3
    assert before == [PAGE + 3]


def test_nobody_joins_while_the_log_is_away(log: _Log, relay: Relay) -> None:
    relay._cursor = 0
    log.away = True
    with pytest.raises(LogUnavailable):
        relay.join(lambda: pytest.fail("joined"))
    log.away = False
    assert relay.join(lambda: None) == 0


def test_a_relay_recovers_when_the_log_is_back(log: _Log, seen: _Seen, relay: Relay) -> None:
    relay.start()
    log.away = True
    log.append(_events(2))
    with pytest.raises(LogUnavailable):
        relay.pump()
    relay.pump_stored()
    log.interrupt()
    _until(lambda: relay.failure != "")
    assert seen.ids == []
    log.append(_events(1))
    log.away = False
    seen.wait_for([1, 2, 3])
    _until(lambda: relay.failure == "")


def test_a_relay_that_cannot_read_does_not_start(tmp_path: Path, seen: _Seen) -> None:
    with pytest.raises(LogUnavailable):
        Relay(SQLiteLog(tmp_path), seen.emit).start()


def test_a_pump_leaves_the_rest_to_the_thread(
    log: _Log, seen: _Seen, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "PAGE", 2)
    relay._cursor = 0
    log.append(_events(9))
    relay.pump(rounds=3)
    assert seen.ids == [1, 2, 3, 4, 5, 6]
    relay.start()
    seen.wait_for(list(range(1, 10)))


def test_retention_deletes_what_is_older_and_counts_it(log: _Log) -> None:
    log.append(_events(STEP + 10))
    now = time.time()
    assert Retention(log, 60, clock=lambda: now).prune() == 0
    assert Retention(log, 60, clock=lambda: now + 61).prune() == STEP + 10
    assert Retention(log, 60, clock=lambda: now + 61).prune() == 0
    assert log.append(_events(1)).ids == [STEP + 11]


def test_an_event_dated_in_the_future_does_not_stop_retention(
    log: _Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time()
    monkeypatch.setattr(sqlite, "now_us", lambda: int((now + 10**8) * 1e6))
    log.append(_events(STEP + 10))
    monkeypatch.setattr(sqlite, "now_us", lambda: int(now * 1e6))
    log.append(_events(5))
    assert Retention(log, 60, clock=lambda: now + 30).prune() == 0
    assert Retention(log, 60, clock=lambda: now + 61).prune() == STEP + 15
    assert log.append(_events(1)).ids == [STEP + 16]


def test_retention_prunes_on_its_thread_and_stops(log: _Log) -> None:
    log.append(_events(3))
    retention = Retention(log, 60, clock=lambda: time.time() + 120)
    retention.start()
    _until(lambda: log.read(0, 1) == [])
    retention.stop()
    assert not retention.loop.alive


def test_no_retention_keeps_all_and_starts_no_thread(log: _Log) -> None:
    retention = Retention(log, 0)
    retention.start()
    assert not retention.loop.alive
    retention.stop()


def test_after_a_slow_delivery_what_comes_goes_out_together(
    log: _Log, seen: _Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "PAUSE_SECONDS", 5.0)
    groups: list[int] = []

    def emit(events: list[Event]) -> None:
        time.sleep(0.2)
        groups.append(len(events))
        seen.emit(events)

    relay = Relay(log, emit)
    relay._cursor = 0
    log.append(_events(1))
    relay.pump()
    log.append(_events(1))
    pump = threading.Thread(target=relay.pump)
    pump.start()
    # It pauses as long as the delivery took: this comes in time.
    log.append(_events(1))
    pump.join(20)
    seen.wait_for([1, 2, 3])
    assert groups == [1, 2]


class _Held(_Log):
    """A log whose first look is held until ``goes_on``; the look number ``fails_at`` fails."""

    def __init__(self, path: Path, fails_at: int = 0) -> None:
        super().__init__(path)
        self.looks = 0
        self.fails_at = fails_at
        self.inside, self.goes_on = threading.Event(), threading.Event()

    def read(self, after: int, limit: int) -> list[Event]:
        self.looks += 1
        if self.looks == 1:
            self.inside.set()
            assert self.goes_on.wait(20)
        if self.looks == self.fails_at:
            raise LogUnavailable("away")
        return super().read(after, limit)


def _join_at_once(
    held: _Held, seen: _Seen, count: int, meanwhile: Callable[[], object] = lambda: None
) -> tuple[Future[int], list[Future[int]], list[int]]:
    """Join while the first to join looks; return its future, the others', and who was let in."""
    relay = Relay(held, seen.emit)
    relay._cursor = 0
    joined: list[int] = []

    def join(number: int) -> int:
        return relay.join(lambda: joined.append(number))

    with ThreadPoolExecutor(count + 1) as pool:
        first = pool.submit(join, 0)
        assert held.inside.wait(20)
        meanwhile()
        others = [pool.submit(join, number) for number in range(1, count + 1)]
        _until(lambda: len(relay._joining) == count)
        held.goes_on.set()
    held.close()
    return first, others, joined


def test_those_who_wait_to_join_share_one_look_into_the_log(log: _Log, seen: _Seen) -> None:
    held = _Held(log.path)
    first, others, joined = _join_at_once(held, seen, 8, lambda: log.append(_events(2)))
    assert first.result(20) in (0, 2)
    assert [other.result(20) for other in others] == [2] * 8
    assert sorted(joined) == list(range(9))
    assert held.looks == 2


def test_a_look_that_fails_lets_in_nobody_and_the_next_tries_again(log: _Log, seen: _Seen) -> None:
    first, others, joined = _join_at_once(_Held(log.path, fails_at=2), seen, 4)
    assert first.result(20) == 0
    failures = [type(other.exception(20)) for other in others]
    assert sorted(map(str, failures)) == sorted(map(str, [LogUnavailable, *[type(None)] * 3]))
    assert len(joined) == 4
    assert sorted(joined) == sorted(set(joined))


def test_events_that_were_pruned_before_they_were_read_are_told(log: _Log, seen: _Seen) -> None:
    lost: list[tuple[int, int]] = []
    relay = Relay(log, seen.emit, lose=lambda first, last: lost.append((first, last)))
    log.append(_events(2))
    relay._cursor = 1
    log.append(_events(5))
    log.prune(2**62, 4)
    relay.pump()
    relay.pump()
    assert lost == [(2, 4)]
    assert seen.ids == [5, 6, 7]


def test_retention_by_count_keeps_the_newest(log: _Log) -> None:
    log.append(_events(STEP + 10))
    assert Retention(log, 0, 5).prune() == STEP + 5
    assert [event.id for event in log.read(0, 100)] == list(range(STEP + 6, STEP + 11))
    assert Retention(log, 60, 5).prune() == 0
    retention = Retention(log, 0, 2)
    retention.start()
    _until(lambda: len(log.read(0, 10)) == 2)
    retention.stop()


def test_a_log_that_lost_its_end_is_begun_anew(tmp_path: Path, seen: _Seen) -> None:
    log = _Log(tmp_path / "events.db")
    log.append(_events(5))
    restarted = threading.Event()
    relay = Relay(log, seen.emit, restart=restarted.set)
    relay.start()
    with closing(sqlite3.connect(log.path)) as db:
        db.execute("DELETE FROM events WHERE id > 3")
        db.execute("UPDATE sqlite_sequence SET seq = 3")
        db.commit()
    assert restarted.wait(10)
    assert relay.cursor == 3
    restarted.clear()
    assert log.append(_events(1)).ids == [4]
    relay.pump()
    seen.wait_for([4])
    # Another log is known by its identity, whatever its ids.
    with closing(sqlite3.connect(log.path)) as db:
        db.execute("UPDATE about SET identity = 'another'")
        db.commit()
    assert restarted.wait(10)
    assert relay.cursor == 4
    relay.stop()
    log.close()
