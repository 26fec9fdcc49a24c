"""From the log into the signal, and what retention deletes."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from flask_sse_sink import relay as relay_module
from flask_sse_sink.config.settings import DatabaseSettings
from flask_sse_sink.event import NewEvent
from flask_sse_sink.exceptions import LogUnavailable
from flask_sse_sink.log import EventLog, StoredEnvelope, open_log
from flask_sse_sink.log.sqlite import appends
from flask_sse_sink.log.sqlite.log import SQLiteLog
from flask_sse_sink.relay import PAGE, Relay
from flask_sse_sink.retention import STEP, Retention
from flask_sse_sink.submission import new_event


class _Log(SQLiteLog):
    """A log whose reading side can be taken away."""

    away = False

    def read(self, after: int, limit: int) -> list[StoredEnvelope]:
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
    """A listener that notes what it is told; tests wait for it without sleeping."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self.gaps: list[tuple[int, int]] = []
        self.replaced = threading.Event()
        self._changed = threading.Condition()

    def on_events(self, envelopes: list[StoredEnvelope]) -> None:
        with self._changed:
            self.ids += [id for id, _ in envelopes]
            self._changed.notify_all()

    def on_gap(self, first_id: int, last_id: int) -> None:
        self.gaps.append((first_id, last_id))

    def on_log_replaced(self) -> None:
        self.replaced.set()

    def on_tail(self) -> None:
        pass

    def wait_for(self, ids: list[int]) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.ids) >= len(ids), 30), self.ids
            assert self.ids == ids


@pytest.fixture
def seen() -> _Seen:
    return _Seen()


@pytest.fixture
def relay(log: _Log, seen: _Seen) -> Iterator[Relay]:
    relay = Relay(log, seen)
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
    assert (relay.cursor, relay.thread.alive) == (-1, False)
    relay.start()
    assert (relay.cursor, relay.thread.alive) == (3, True)
    log.append(_events(2))
    relay.pump()
    seen.wait_for([4, 5])
    relay.stop()
    assert not relay.thread.alive


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
            relay.pump()

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
            relay.pump()

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
    relay.begin(after=0)
    log.append(_events(PAGE + 3))
    before: list[int] = []
    assert relay.join(lambda: before.append(len(seen.ids))) == PAGE + 3
    assert before == [PAGE + 3]


def test_nobody_joins_while_the_log_is_away(log: _Log, relay: Relay) -> None:
    relay.begin(after=0)
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
    log.interrupt()
    _until(lambda: relay.away is not None)
    assert seen.ids == []
    log.append(_events(1))
    log.away = False
    seen.wait_for([1, 2, 3])
    _until(lambda: relay.away is None and not relay.thread.failure)


def test_a_relay_that_cannot_read_does_not_start(tmp_path: Path, seen: _Seen) -> None:
    with pytest.raises(LogUnavailable):
        Relay(SQLiteLog(tmp_path), seen).start()


def test_a_pump_leaves_the_rest_to_the_thread(
    log: _Log, seen: _Seen, relay: Relay, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "PAGE", 2)
    relay.begin(after=0)
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
    monkeypatch.setattr(appends, "now_us", lambda: int((now + 10**8) * 1e6))
    log.append(_events(STEP + 10))
    monkeypatch.setattr(appends, "now_us", lambda: int(now * 1e6))
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
    assert not retention.thread.alive


def test_no_retention_keeps_all_and_starts_no_thread(log: _Log) -> None:
    retention = Retention(log, 0)
    retention.start()
    assert not retention.thread.alive
    retention.stop()


def test_after_a_slow_delivery_what_comes_goes_out_together(
    log: _Log, seen: _Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay_module, "LONGEST_PAUSE_SECONDS", 5.0)
    groups: list[int] = []

    class Slow(_Seen):
        def on_events(self, envelopes: list[StoredEnvelope]) -> None:
            time.sleep(0.2)
            groups.append(len(envelopes))
            seen.on_events(envelopes)

    relay = Relay(log, Slow())
    relay.begin(after=0)
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

    def read(self, after: int, limit: int) -> list[StoredEnvelope]:
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
    relay = Relay(held, seen)
    relay.begin(after=0)
    joined: list[int] = []

    def join(number: int) -> int:
        return relay.join(lambda: joined.append(number))

    with ThreadPoolExecutor(count + 1) as pool:
        first = pool.submit(join, 0)
        assert held.inside.wait(20)
        meanwhile()
        others = [pool.submit(join, number) for number in range(1, count + 1)]
        _until(lambda: relay.waiting_joins == count)
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
    relay = Relay(log, seen)
    log.append(_events(2))
    relay.begin(after=1)
    log.append(_events(5))
    log.prune(2**62, 4)
    relay.pump()
    relay.pump()
    assert seen.gaps == [(2, 4)]
    assert seen.ids == [5, 6, 7]


def test_retention_by_count_keeps_the_newest(log: _Log) -> None:
    log.append(_events(STEP + 10))
    assert Retention(log, 0, 5).prune() == STEP + 5
    assert [id for id, _ in log.read(0, 100)] == list(range(STEP + 6, STEP + 11))
    assert Retention(log, 60, 5).prune() == 0
    retention = Retention(log, 0, 2)
    retention.start()
    _until(lambda: len(log.read(0, 10)) == 2)
    retention.stop()


def test_a_log_that_lost_its_end_is_begun_anew(tmp_path: Path, seen: _Seen) -> None:
    log = _Log(tmp_path / "events.db")
    log.append(_events(5))
    relay = Relay(log, seen)
    relay.start()
    with closing(sqlite3.connect(log.path)) as db:
        db.execute("DELETE FROM events WHERE id > 3")
        db.execute("UPDATE sqlite_sequence SET seq = 3")
        db.commit()
    assert seen.replaced.wait(10)
    assert relay.cursor == 3
    seen.replaced.clear()
    assert log.append(_events(1)).ids == [4]
    relay.pump()
    seen.wait_for([4])
    # Another log is known by its identity, whatever its ids.
    with closing(sqlite3.connect(log.path)) as db:
        db.execute("UPDATE about SET identity = 'another'")
        db.commit()
    assert seen.replaced.wait(10)
    assert relay.cursor == 4
    relay.stop()
    log.close()


class _Slow(_Seen):
    """A relay whose first delivery, on a producer's thread, takes until ``goes_on``.

    It then raises ``error`` if there is one. ``looks`` has a line for each look of the tail
    thread at the log from then on.
    """

    def __init__(self, log: EventLog, seen: _Seen, error: BaseException | None = None) -> None:
        super().__init__()
        self.raised: list[BaseException] = []
        self.looks: list[int] = []
        self.goes_on = threading.Event()
        self._log = log
        self._seen = seen
        self._error = error
        self._began = threading.Event()
        # A Redis wakes the tail thread before the producer can deliver what it stored.
        log.tail = self._tail  # type: ignore[method-assign]
        self.relay = Relay(log, self)
        self.relay.start()
        self.producer = threading.Thread(target=self._produce)
        self.producer.start()
        assert self._began.wait(20)

    def _tail(self, after: int, timeout: float) -> int:
        assert self._began.wait(20)
        self.looks.append(after)
        return type(self._log).tail(self._log, after, timeout)

    def on_events(self, envelopes: list[StoredEnvelope]) -> None:
        if not self._began.is_set():
            self._began.set()
            assert self.goes_on.wait(30)
            if self._error is not None:
                raise self._error
        self._seen.on_events(envelopes)

    def _produce(self) -> None:
        try:
            self._log.append(_events(1))
            self.relay.pump()
        except BaseException as error:
            self.raised.append(error)

    def wake_tail(self) -> None:
        """Return when the tail thread waits for the one that delivers."""
        self._log.interrupt()
        _until(lambda: self.relay.tail_waits)

    def go_on(self) -> None:
        self.goes_on.set()
        self.producer.join(20)
        assert not self.producer.is_alive()


@pytest.fixture(params=["sqlite", "redis"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Run a test with each kind of log."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'events.db'}"
    url: str = request.getfixturevalue("redis_server").url
    return url


@pytest.fixture
def either(url: str) -> Iterator[EventLog]:
    log = open_log(DatabaseSettings(url=url))
    log.check()
    yield log
    log.close()


def test_the_tail_does_not_look_again_and_again_while_another_thread_delivers(
    either: EventLog, seen: _Seen
) -> None:
    slow = _Slow(either, seen)
    either.interrupt()
    spent = time.process_time()
    # What is counted is what happens in this time.
    threading.Event().wait(1.5)
    spent = time.process_time() - spent
    looks = len(slow.looks)
    slow.go_on()
    slow.relay.stop()
    assert looks <= 5
    assert spent < 0.5
    seen.wait_for([1])


def test_the_tail_delivers_what_was_stored_during_a_delivery_as_soon_as_that_is_over(
    either: EventLog, url: str, seen: _Seen
) -> None:
    other = open_log(DatabaseSettings(url=url))
    for number in range(6):
        slow = _Slow(either, seen)
        slow.wake_tail()
        # Another process stores this: nobody here calls pump() for it.
        other.append(_events(1))
        began = time.monotonic()
        slow.go_on()
        seen.wait_for(list(range(1, 2 * number + 3)))
        # Sooner than the tail looks by itself.
        assert time.monotonic() - began < relay_module.TAIL_SECONDS / 2
        slow.relay.stop()
    other.close()


def test_the_tail_goes_on_where_a_delivery_fails(either: EventLog, seen: _Seen) -> None:
    slow = _Slow(either, seen, KeyboardInterrupt())
    slow.wake_tail()
    slow.go_on()
    # What was interrupted is delivered again.
    seen.wait_for([1])
    slow.relay.stop()
    assert [type(error) for error in slow.raised] == [KeyboardInterrupt]


def test_a_stop_ends_the_tail_that_waits_for_a_delivery(either: EventLog, seen: _Seen) -> None:
    slow = _Slow(either, seen)
    slow.wake_tail()
    began = time.monotonic()
    slow.relay.stop()
    seconds = time.monotonic() - began
    slow.go_on()
    assert seconds < relay_module.TAIL_SECONDS / 2


def test_a_tail_that_waits_keeps_no_producer_and_no_client(either: EventLog, seen: _Seen) -> None:
    slow = _Slow(either, seen)
    slow.wake_tail()
    # A second producer leaves its event to the thread that delivers, at once.
    either.append(_events(1))
    slow.relay.pump()
    joining = threading.Thread(target=slow.relay.join, args=(lambda: None,))
    joining.start()
    slow.go_on()
    joining.join(20)
    assert not joining.is_alive()
    seen.wait_for([1, 2])
    slow.relay.stop()


def test_pumps_of_many_threads_and_the_tail_lose_no_wake_up(
    either: EventLog, url: str, seen: _Seen, monkeypatch: pytest.MonkeyPatch
) -> None:
    # With this, an event that nobody was woken for would be as late as the test's own deadline.
    monkeypatch.setattr(relay_module, "TAIL_SECONDS", 60.0)
    relay = Relay(either, seen)
    relay.start()
    other = open_log(DatabaseSettings(url=url))

    def own(_: int) -> None:
        for _ in range(100):
            either.append(_events(1))
            relay.pump()

    def others(_: int) -> None:
        for _ in range(100):
            other.append(_events(1))

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(work, 0) for work in (own, others) * 2]:
            done.result(60)
    seen.wait_for(list(range(1, 401)))
    relay.stop()
    other.close()
