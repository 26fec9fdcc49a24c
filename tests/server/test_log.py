"""What every event log must do, tested with each of them."""

from __future__ import annotations

import inspect
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from flask_sse_sink.config.databases import MEMORY_URL
from flask_sse_sink.config.settings import DatabaseSettings
from flask_sse_sink.event import Event, NewEvent, Source, encode_envelope
from flask_sse_sink.exceptions import LogUnavailable, LogUnusable
from flask_sse_sink.filters import (
    EVERYTHING,
    Criterion,
    Filter,
    parse,
    parse_query,
    selection,
)
from flask_sse_sink.filters.exact import EntityIds, Sources
from flask_sse_sink.filters.patterns import parse_patterns
from flask_sse_sink.log import EventLog, Record, copying, indexes, open_log
from flask_sse_sink.log.copying import copy
from flask_sse_sink.log.due import DueEvents, Rows
from flask_sse_sink.log.protocol import iso, now_us
from flask_sse_sink.log.sqlite import matching
from flask_sse_sink.log.sqlite.log import SQLiteLog
from flask_sse_sink.submission import decode, new_event
from support.logs import events_in, ids_in, names_in

FAR = 2**62


STORED = ["sqlite", "redis", "redis+cluster"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a test each kind of log; one in memory only where the test opens no second one."""
    if "make_log" in metafunc.fixturenames:
        opens_more = "make_log" in inspect.signature(metafunc.function).parameters
        kinds = STORED if opens_more else [*STORED, "memory"]
        metafunc.parametrize("make_log", kinds, indirect=True)


@pytest.fixture
def make_log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], EventLog]]:
    """Return a function that opens logs, all of them in the same storage."""
    url = f"sqlite:///{tmp_path}/deep/er/events.db"
    if request.param == "redis":
        url = request.getfixturevalue("redis_server").url
    elif request.param == "redis+cluster":
        url = request.getfixturevalue("redis_cluster")
    elif request.param == "memory":
        url = MEMORY_URL
    made: list[EventLog] = []

    def make() -> EventLog:
        made.append(open_log(DatabaseSettings(url=url)))
        return made[-1]

    yield make
    for log in made:
        log.close()


@pytest.fixture
def log(make_log: Callable[[], EventLog]) -> EventLog:
    return make_log()


def _events(*ids: str, source: str = "s") -> list[NewEvent]:
    return [new_event("a.b", {"n": id}, event_id=id, source=source) for id in ids]


def test_a_new_log_is_empty(log: EventLog) -> None:
    assert log.head() == 0
    assert log.read(0, 10) == []


def test_ids_rise_from_one_without_gaps(log: EventLog) -> None:
    assert log.append(_events("a", "b")).ids == [1, 2]
    assert log.append(_events("c")).ids == [3]
    assert names_in(log) == [(1, "a"), (2, "b"), (3, "c")]
    assert log.head() == 3


def test_an_empty_batch_stores_nothing(log: EventLog) -> None:
    assert log.append([]) == ([], 0)
    assert log.head() == 0


def test_an_event_is_read_as_it_was_stored(log: EventLog) -> None:
    before = now_us()
    log.append(
        decode(
            '{"event_type":"user.login","event_id":"é","entity_id":"u","source":"shöp",'
            '"data":{"n": 1.10, "s": "\\u0000\u2028😀"},"meta":{"m": [1e400]}}'.encode()
        )
    )
    (event,) = events_in(log)
    assert (event.id, event.event_id, event.event_type) == (1, "é", "user.login")
    assert (event.entity_id, event.source.name) == ("u", "shöp")
    assert bytes(event.data).decode() == '{"n":1.10,"s":"\\u0000\u2028😀"}'
    assert bytes(event.meta) == b'{"m":[1e400]}'
    at = datetime.fromisoformat(event.created_at)
    assert event.created_at.endswith("+00:00")
    assert before - 10 <= at.timestamp() * 1e6 <= now_us() + 10


def test_a_source_keeps_its_id(log: EventLog) -> None:
    log.append([*_events("a", source="x"), *_events("a", source="y"), *_events("b", source="x")])
    first, second, third = [event.source for event in events_in(log)]
    assert first == third
    assert first.id != second.id


def test_a_repeated_event_is_answered_with_the_id_it_has(log: EventLog) -> None:
    log.append(_events("a", "b"))
    for _ in range(2):
        again = log.append(_events("b", "c", "a"))
        assert again.ids == [2, 3, 1]
    assert (again.duplicates, again.accepted) == (3, 0)
    assert log.append(_events("a")) == ([1], 1)
    assert names_in(log) == [(1, "a"), (2, "b"), (3, "c")]


def test_of_an_event_twice_in_a_batch_the_first_is_stored(log: EventLog) -> None:
    twice = [new_event("x", event_id="a"), *_events("b"), new_event("y", event_id="a")]
    made = log.append(twice)
    assert (made.ids, made.duplicates, made.accepted) == ([1, 2, 1], 1, 2)
    assert [event.event_type for event in events_in(log)] == ["x", "a.b"]


def test_the_same_event_id_of_another_source_is_another_event(log: EventLog) -> None:
    assert log.append(_events("a", source="x") + _events("a", source="y")).ids == [1, 2]
    assert log.append(_events("a", source="z")).ids == [3]


def test_a_batch_is_stored_as_a_whole_or_not_at_all(log: EventLog) -> None:
    bad = msgspec.structs.replace(*_events("c"), event_type=None)
    with pytest.raises((LogUnavailable, TypeError)):
        log.append([*_events("a", "b"), bad])
    assert log.head() == 0
    assert log.append(_events("a")).ids == [1]


def test_pages_are_read_in_order(log: EventLog) -> None:
    log.append(_events(*"abcdefg"))
    pages, after = [], 0
    while page := log.read(after, 3):
        pages.append([id for id, _ in page])
        after = pages[-1][-1]
    assert pages == [[1, 2, 3], [4, 5, 6], [7]]
    assert log.read(7, 3) == log.read(999, 3) == []


def test_only_old_events_are_pruned_from_the_front_in_steps(log: EventLog) -> None:
    log.append(_events(*"abcde"))
    middle = now_us() + 1
    while now_us() <= middle:
        pass
    log.append(_events("f", "g"))
    assert log.prune(0, 10) == 0
    assert [log.prune(middle, 2) for _ in range(4)] == [2, 2, 1, 0]
    assert names_in(log) == [(6, "f"), (7, "g")]


def test_an_id_is_never_used_again(log: EventLog, make_log: Callable[[], EventLog]) -> None:
    log.append(_events("a", "b"))
    assert log.prune(FAR, 10) == 2
    assert log.read(0, 10) == []
    assert log.head() == 2
    log.close()
    assert make_log().append(_events("c")).ids == [3]
    assert log.append(_events("a")) == ([4], 0)


def test_a_log_that_was_closed_opens_again(make_log: Callable[[], EventLog]) -> None:
    log = make_log()
    log.append(_events("a"))
    log.close()
    log.close()
    assert log.head() == 1
    assert log.append(_events("b")).ids == [2]


def test_inspect_and_check_accept_a_sound_log(log: EventLog) -> None:
    log.inspect()
    log.check()
    log.append(_events("a"))
    log.inspect()
    log.check()
    assert names_in(log) == [(1, "a")]


def _typed(*types: str) -> list[NewEvent]:
    return [new_event(name) for name in types]


def _replayed(log: EventLog, after: int, limit: int, filter: Filter) -> list[tuple[int, bytes]]:
    """Return the events of all pages; each page must end at a higher id."""
    found = []
    while True:
        page = log.replay(after, limit, filter)
        assert len(page.envelopes) <= limit
        assert all(after < id <= page.through for id, _ in page.envelopes)
        found += page.envelopes
        if not page.more:
            assert page.through == max(after, log.head())
            return found
        assert page.through > after
        after = page.through


@pytest.mark.parametrize("limit", [1, 3, 1000])
@pytest.mark.parametrize(
    "patterns",
    [["*"], ["a.*"], ["a.b"], ["b.*", "a.b"], ["none", "b.c"], ["none.*"], ["a.*", "c"]],
)
@pytest.mark.parametrize("narrow_types", [0, 64])
def test_a_replay_returns_the_events_that_the_filter_lets_through(
    log: EventLog,
    patterns: list[str],
    limit: int,
    narrow_types: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(indexes, "NARROW_TYPES", narrow_types)
    monkeypatch.setattr(matching, "WINDOW", 4)
    log.append(_typed(*["a.b", "a.b", "ab", "a.bc", "b.c", "a.b.c", "c", "a/x", "x", "a"] * 3))
    filter = parse(patterns)
    for after in (0, 7, 30, 99):
        events = [e for e in events_in(log, after) if filter.matches(e)]
        expected = [(event.id, encode_envelope(event)) for event in events]
        assert _replayed(log, after, limit, filter) == expected


# Whatever an entity's id may hold that SQL, Redis's keys or JSON might take for something else.
ENTITIES = (
    "u",
    "u,v",
    "u:1",
    "user:*",
    "%",
    "_",
    "U",
    "Ü😀\u2028",
    'say "hi"\\',
    "null",
    ',"created_at":',
    "x" * 255,
    "{sse-sink}:events",
    " ",
    "0",
)
SOURCE_NAMES = ("s", "s,t", "%", "ü" * 255, "1")
TYPE_NAMES = ("a.b", "a.c", "a.b.c", "b", "c.d", "a")


class Odd(NamedTuple):
    """A criterion that no log knows."""

    def matches(self, event: Event) -> bool:
        return event.id % 2 == 1

    def narrowed(self, other: Odd) -> Odd:
        return self

    def values(self) -> list[str]:
        return ["yes"]


def _some(chance: random.Random, values: Sequence[str]) -> list[str]:
    return chance.sample(values, chance.choice((1, 1, 2, len(values))))


def _random_filter(chance: random.Random) -> Filter:
    """Return a filter of up to three alternatives, each of any criteria."""
    selections = []
    for _ in range(chance.choice((0, 1, 1, 1, 2, 2, 3))):
        criteria: dict[str, Criterion] = {}
        if chance.random() < 0.5:
            ids = [*_some(chance, ENTITIES), "nobody"]
            criteria["entity_id"] = EntityIds(frozenset(ids))
        if chance.random() < 0.5:
            patterns = ("a.*", "a.b.*", "a.b", "b", "c", "c.*", "none", "no.*")
            criteria["event_type"] = parse_patterns(_some(chance, patterns))
        if chance.random() < 0.4:
            criteria["source"] = Sources(frozenset([*_some(chance, SOURCE_NAMES), "nobody"]))
        if chance.random() < 0.1:
            criteria["odd"] = Odd()
        selections.append(selection(criteria))
    return Filter(tuple(selections))


@pytest.mark.parametrize("narrow", [0, 3, 256])
def test_a_replay_lets_through_what_the_filter_matches(
    log: EventLog, narrow: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(indexes, "NARROW_KEYS", narrow)
    monkeypatch.setattr(indexes, "NARROW_TYPES", min(narrow, 64))
    monkeypatch.setattr(matching, "WINDOW", 17)
    seed = random.randrange(1 << 30)
    print("seed", seed)
    chance = random.Random(seed)
    entities = (None, None, *ENTITIES)
    for _ in range(4):
        batch = [
            new_event(
                chance.choice(TYPE_NAMES),
                {"entity_id": None, "created_at": 1, "x": "y" * chance.choice((0, 0, 9000))},
                source=chance.choice(SOURCE_NAMES),
                entity_id=chance.choice(entities),
            )
            for _ in range(60)
        ]
        log.append(batch)
    log.prune(FAR, 20)
    events = events_in(log)
    assert {event.entity_id for event in events} == set(entities)
    for _ in range(60):
        filter = _random_filter(chance)
        after = chance.choice((0, 20, 21, 100, 239, 240, 500))
        expected = [
            (event.id, encode_envelope(event))
            for event in events
            if event.id > after and filter.matches(event)
        ]
        assert _replayed(log, after, chance.choice((1, 2, 7, 40, 1000)), filter) == expected, (
            filter.query(),
            after,
        )
        until = chance.randrange(260)
        page = log.replay(0, 1000, filter, until)
        ids = [event.id for event in events if event.id <= page.through and filter.matches(event)]
        assert page.through <= max(until, 20) and [id for id, _ in page.envelopes] == ids


def test_an_event_that_two_alternatives_let_through_comes_once(log: EventLog) -> None:
    log.append([new_event("a", entity_id="u", source="s") for _ in range(5)])
    either = Filter(
        tuple(
            selection({name: criterion})
            for name, criterion in (
                ("entity_id", EntityIds(frozenset(["u"]))),
                ("event_type", parse_patterns(["a"])),
                ("source", Sources(frozenset(["s"]))),
            )
        )
    )
    for limit in (1, 2, 3, 5, 9):
        assert [id for id, _ in _replayed(log, 0, limit, either)] == [1, 2, 3, 4, 5]


def test_a_filter_that_lets_nothing_through_is_at_the_end_at_once(log: EventLog) -> None:
    log.append(_events("a", "b"))
    assert log.replay(0, 10, Filter(())) == ([], 2, 0, False)
    assert log.replay(0, 10, parse_query({"entity_id": ["x"]})) == ([], 2, 0, False)


def test_a_copy_is_indexed_as_well(make_log: Callable[[], EventLog], tmp_path: Path) -> None:
    source, target = SQLiteLog(tmp_path / "source.db"), make_log()
    try:
        source.append(
            [new_event("a", entity_id=f"u{n % 3}", source=f"s{n % 2}") for n in range(9)]
        )
        source.prune(FAR, 1)
        list(copy(source, target))
        target.append([new_event("a", entity_id="u1", source="s1")])
        for query, ids in (
            ({"entity_id": ["u1"]}, [2, 5, 8, 10]),
            ({"source": ["s1"]}, [2, 4, 6, 8, 10]),
        ):
            assert [id for id, _ in _replayed(target, 0, 2, parse_query(query))] == ids
    finally:
        source.close()


def test_a_replay_ends_at_the_given_id(log: EventLog) -> None:
    log.append(_typed("a", "b", "a", "a"))
    page = log.replay(0, 10, parse(["a"]), until=3)
    assert ([id for id, _ in page.envelopes], page.through, page.more) == ([1, 3], 3, False)
    assert log.replay(3, 10, EVERYTHING, until=3) == ([], 3, 3, False)
    assert log.replay(4, 10, EVERYTHING) == ([], 4, 4, False)


def test_a_page_of_large_events_holds_few_of_them(log: EventLog) -> None:
    log.append([new_event("a", "x" * 100_000) for _ in range(7)])
    page = log.replay(0, 100, EVERYTHING)
    assert ([id for id, _ in page.envelopes], page.through, page.more) == ([1, 2, 3], 3, True)
    log.append([new_event("a", "x" * 1_000_000)])
    assert [id for id, _ in log.replay(7, 100, EVERYTHING).envelopes] == [8]


def test_a_replay_says_up_to_which_id_events_were_pruned(log: EventLog) -> None:
    log.append(_typed(*"abcdef"))
    assert log.prune(FAR, 4) == 4
    assert log.replay(1, 10, EVERYTHING).gone == 4
    assert log.replay(4, 10, EVERYTHING).gone == 4
    assert log.replay(5, 10, EVERYTHING).gone == 5
    assert log.replay(1, 10, parse(["f"])).gone == 4
    # No further than it was asked for.
    assert log.replay(1, 10, EVERYTHING, until=3) == ([], 3, 3, False)
    log.prune(FAR, 4)
    assert log.replay(1, 10, EVERYTHING) == ([], 6, 6, False)
    assert log.replay(6, 10, EVERYTHING) == ([], 6, 6, False)


def test_a_prune_keeps_the_newest(log: EventLog) -> None:
    log.append(_typed(*"abcdef"))
    assert log.prune(0, 10, keep=6) == 0
    assert log.prune(0, 1, keep=4) == 1
    assert log.prune(0, 10, keep=4) == 1
    assert log.prune(0, 10, keep=4) == 0
    assert ids_in(log) == [3, 4, 5, 6]
    # What is too old goes, however few there are.
    assert log.prune(FAR, 10, keep=4) == 4
    assert log.append(_typed("g")).ids == [7]


def test_a_log_says_how_much_it_holds(log: EventLog) -> None:
    empty = log.status()
    assert (empty.head, empty.events, empty.oldest_us) == (0, 0, 0)
    before = now_us()
    log.append(_typed(*"abcdef"))
    full = log.status()
    assert (full.head, full.events) == (6, 6)
    assert before <= full.oldest_us <= now_us()
    assert full.size_bytes > 0
    log.append([new_event("a", "x" * 10_000) for _ in range(20)])
    assert log.status().size_bytes > full.size_bytes + 100_000
    between = now_us()
    log.append(_typed("g"))
    log.prune(between, 1000)
    kept = log.status()
    assert (kept.head, kept.events) == (27, 1)
    assert between <= kept.oldest_us <= now_us()
    log.prune(FAR, 1)
    assert log.status()[:2] == (27, 0)
    assert log.status().oldest_us == 0


def test_head_before_returns_the_head_at_a_time(log: EventLog) -> None:
    assert log.head_before(FAR) == log.head_before(0) == 0
    log.append(_typed("a", "b"))
    time.sleep(0.002)
    between = now_us()
    time.sleep(0.002)
    log.append(_typed("c", "d", "e"))
    assert [log.head_before(at) for at in (0, between, FAR)] == [0, 2, 5]
    log.prune(FAR, 1)
    assert [log.head_before(at) for at in (0, between, FAR)] == [1, 2, 5]
    log.prune(FAR, 9)
    assert [log.head_before(at) for at in (0, FAR)] == [5, 5]


def test_a_log_keeps_its_identity(make_log: Callable[[], EventLog]) -> None:
    log = make_log()
    identity = log.identity
    assert len(identity) >= 8
    log.append(_typed("a"))
    log.close()
    assert log.identity == make_log().identity == identity


def test_tail_returns_at_once_if_there_is_a_newer_event(log: EventLog) -> None:
    log.append(_events("a"))
    began = time.monotonic()
    assert log.tail(0, 30) == 1
    assert time.monotonic() - began < 5


def test_tail_waits_no_longer_than_its_timeout(log: EventLog) -> None:
    log.append(_events("a"))
    began = time.monotonic()
    assert log.tail(1, 0.05) == 1
    assert 0.04 < time.monotonic() - began < 5


def test_an_interrupt_ends_the_next_tail_and_one_in_progress(log: EventLog) -> None:
    assert log.head() == 0
    log.interrupt()
    began = time.monotonic()
    assert log.tail(0, 30) == 0
    with ThreadPoolExecutor(1) as pool:
        tail = pool.submit(log.tail, 0, 30)
        log.interrupt()
        assert tail.result(10) == 0
    assert time.monotonic() - began < 10


def test_two_logs_on_one_storage_see_each_others_events(make_log: Callable[[], EventLog]) -> None:
    one, other = make_log(), make_log()
    assert one.append(_events("a")).ids == [1]
    assert other.append(_events("a", "b")) == ([1, 2], 1)
    assert one.append(_events("c", source="new")).ids == [3]
    assert names_in(one) == names_in(other) == [(1, "a"), (2, "b"), (3, "c")]
    assert one.head() == other.head() == 3


def test_an_append_wakes_the_tail_of_another_log(make_log: Callable[[], EventLog]) -> None:
    reader, writer = make_log(), make_log()
    writer.append(_events("warm"))
    assert reader.tail(0, 1)

    def wait_above(after: int) -> int:
        # The tail may have seen the event of an earlier turn before its notification came.
        while (head := reader.tail(after, 30)) == after:
            pass
        return head

    with ThreadPoolExecutor(1) as pool:
        for turn in range(1, 6):
            tail = pool.submit(wait_above, turn)
            began = time.monotonic()
            writer.append(_events(f"e{turn}"))
            assert tail.result(10) == turn + 1
            assert time.monotonic() - began < 0.5


@pytest.mark.parametrize("count", [15, 16, 17, 32, 33])
def test_a_batch_of_any_size_is_stored_in_its_order(
    make_log: Callable[[], EventLog], count: int
) -> None:
    # Up to 16 rows are one statement of SQLite.
    log = make_log()
    log.append(_events("known"))
    names = [f"e{number}" for number in range(count)]
    made = log.append(_events(*names[:9], "known", *names[9:]))
    assert made.duplicates == 1
    assert made.ids == [*range(2, 11), 1, *range(11, count + 2)]
    assert names_in(log) == list(enumerate(["known", *names], 1))


def test_concurrent_appends_lose_and_duplicate_nothing(make_log: Callable[[], EventLog]) -> None:
    logs = [make_log(), make_log()]
    for log in logs:
        log.check()
    start = threading.Barrier(8)

    def work(worker: int) -> list[int]:
        start.wait(10)
        ids: list[int] = []
        for turn in range(20):
            batch = _events(f"{worker}-{turn}-a", f"{worker}-{turn}-b") + _events(f"all-{turn}")
            made = logs[worker % 2].append(batch)
            ids += made.ids[:2]
        return ids

    with ThreadPoolExecutor(8) as pool:
        answered = [list(ids) for ids in pool.map(work, range(8))]
    stored = names_in(logs[0])
    assert [id for id, _ in stored] == list(range(1, 8 * 40 + 20 + 1))
    assert len({event_id for _, event_id in stored}) == len(stored)
    assert all(ids == sorted(ids) for ids in answered)
    by_id = dict(stored)
    for worker, ids in enumerate(answered):
        names = [f"{worker}-{turn}-{half}" for turn in range(20) for half in "ab"]
        assert [by_id[id] for id in ids] == names


def test_a_reader_never_sees_a_lower_id_later(make_log: Callable[[], EventLog]) -> None:
    writers, reader = [make_log(), make_log()], make_log()
    for log in (*writers, reader):
        log.check()
    seen: list[int] = []

    def write(worker: int) -> None:
        for turn in range(40):
            writers[worker % 2].append(_events(f"{worker}-{turn}"))

    with ThreadPoolExecutor(4) as pool:
        done = [pool.submit(write, worker) for worker in range(4)]
        deadline = time.monotonic() + 60
        while len(seen) < 160 and time.monotonic() < deadline:
            reader.tail(seen[-1] if seen else 0, 0.1)
            seen += [id for id, _ in reader.read(seen[-1] if seen else 0, 7)]
        for future in done:
            future.result(10)
    assert seen == list(range(1, 161))


def _kept(log: EventLog) -> tuple[object, ...]:
    return log.records(0, 1000), log.head(), log.identity


def test_a_copy_has_the_same_ids_and_knows_the_same_events(
    make_log: Callable[[], EventLog], tmp_path: Path
) -> None:
    log = make_log()
    log.append([new_event("a.b", {"n": 1}, event_id="1", source="s")])
    dated = decode(b'{"event_type":"c","occurred_at":"2024-01-01T00:00:00Z"}')
    log.append(_events("2", "3", source="\u00fc") + dated)
    log.prune(FAR, 1)
    other = SQLiteLog(tmp_path / "copy.db")
    try:
        # There and back, each with pages of its own.
        assert list(copy(log, other)) == [(4, 4)]
        assert _kept(other) == _kept(log)
        assert [event.source.name for event in events_in(other)] == ["ü", "ü", "default"]
        assert other.append(_events("2", source="ü")) == ([2], 1)
        assert other.append(_events("1", source="s")).ids == [5]
        assert log.append(_events("1", source="s")).ids == [5]
        assert [r.occurred_at for r in log.records(3, 1)] == ["2024-01-01T00:00:00+00:00"]
        assert list(copy(log, other)) == []
    finally:
        other.close()


def test_a_copy_continues_where_it_was_interrupted(
    make_log: Callable[[], EventLog], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(copying, "PAGE", 2)
    source = SQLiteLog(tmp_path / "source.db")
    target = make_log()
    try:
        source.append(_events(*"abcde"))
        steps = copy(source, target)
        assert next(steps) == (2, 5)
        steps.close()  # type: ignore[attr-defined] # it is a generator
        source.append(_events("f"))
        assert list(copy(source, target)) == [(4, 6), (6, 6)]
        assert _kept(target) == _kept(source)
        source.prune(FAR, 9)
        assert source.append(_events("g", "h")).ids == [7, 8]
        source.prune(FAR, 9)
        assert list(copy(source, target)) == [(8, 8)]
        assert target.head() == 8
        assert target.append(_events("i")).ids == [9]
        # Both went on by themselves: neither is a copy of the other any more.
        assert source.append(_events("j")).ids == [9]
        with pytest.raises(LogUnusable, match="it holds events that aren't of the log"):
            source.append(_events("k"))
            target.restore(source.records(8, 1), 9, source.identity)
    finally:
        source.close()


def test_nothing_is_copied_into_another_log(
    make_log: Callable[[], EventLog], tmp_path: Path
) -> None:
    source, target = SQLiteLog(tmp_path / "source.db"), make_log()
    try:
        target.append(_events("x"))
        source.append(_events("a", "b"))
        before = _kept(target)
        with pytest.raises(LogUnusable, match="name an empty one"):
            list(copy(source, target))
        with pytest.raises(LogUnusable, match="name an empty one"):
            target.restore(source.records(1, 1), 2, source.identity)
        assert _kept(target) == before
    finally:
        source.close()


def test_an_empty_log_is_copied_as_one(make_log: Callable[[], EventLog], tmp_path: Path) -> None:
    source, target = SQLiteLog(tmp_path / "source.db"), make_log()
    try:
        assert list(copy(source, target)) == [(0, 0)]
        assert target.identity == source.identity
        assert target.append(_events("a")).ids == [1]
    finally:
        source.close()


HOUR = 3_600_000_000


def _dated(log: EventLog, *hours: float) -> int:
    """Store an event for each number of hours from now; return the time it is now."""
    now = now_us()
    records = []
    for id, ahead in enumerate(hours, 1):
        at = now + round(ahead * HOUR)
        stored = new_event("a").as_event(id, iso(at), Source(1, "s"))
        records.append(Record(id, at, None, encode_envelope(stored)))
    log.restore(records, len(records), "the-identity")
    return now


@pytest.mark.parametrize(
    ("hours", "left"),
    [
        ((-9, -9, -1, -9), [3, 4]),
        # Dated in the future: it goes with what was stored after it and is due.
        ((99, -9, -9, -1), [4]),
        ((-9, 99, 99, -9, 99, -1), [5, 6]),
        ((99, 99, 99, -9, -1), [5]),
        ((99,) * 9 + (-9, -1), [11]),
        # Nothing behind it is due, so it isn't.
        ((99, -1), [1, 2]),
        ((99,), [1]),
        ((-9, 99), [2]),
        # The clock that was wrong may have said 1970: that makes nothing before it due.
        ((-1, -500_000, -1), [1, 2, 3]),
        ((99, -1, -500_000), [1, 2, 3]),
    ],
)
def test_an_event_dated_in_the_future_does_not_keep_those_behind_it(
    log: EventLog, hours: tuple[float, ...], left: list[int], caplog: pytest.LogCaptureFixture
) -> None:
    now = _dated(log, *hours)
    for _ in range(9):
        log.prune(now - 2 * HOUR, 2, 0, now)
    assert ids_in(log) == left
    said = [record for record in caplog.records if "in the future" in record.message]
    assert len(said) == (99 in hours)


def test_events_dated_in_the_future_are_counted_like_others(log: EventLog) -> None:
    now = _dated(log, 99, 99, 99, 99, -1)
    for _ in range(9):
        log.prune(0, 2, 3, now)
    assert ids_in(log) == [3, 4, 5]


def test_many_events_dated_in_the_future_are_read_about_once(
    log: EventLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = _dated(log, *[99] * 200, -9, -1)
    looked: list[int] = []
    last_due = DueEvents.last_due

    def count(self: DueEvents, rows: Rows, *rest: Any) -> int:
        def counted(after: int, limit: int) -> list[tuple[int, int]]:
            found = rows(after, limit)
            looked.append(len(found))
            return found

        return last_due(self, counted, *rest)

    monkeypatch.setattr(DueEvents, "last_due", count)
    while log.prune(now - 2 * HOUR, 10, 0, now):
        pass
    assert ids_in(log) == [202]
    # Each once to find what is behind, once to go, and a page a turn.
    assert sum(looked) < 4 * 200 + 100
