"""The SQLite log when disks, files and processes fail."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from flask_sse_sink.event import NewEvent, decode_envelope
from flask_sse_sink.exceptions import LogUnavailable, LogUnusable
from flask_sse_sink.filters import EVERYTHING, Filter, parse_query, selection
from flask_sse_sink.filters.exact import EntityIds
from flask_sse_sink.log.sqlite import matching, queries, schema
from flask_sse_sink.log.sqlite.log import SQLiteLog
from flask_sse_sink.log.sqlite.schema import APPLICATION_ID, MIGRATIONS, SCHEMA, Schema
from flask_sse_sink.submission import new_event
from support.logs import events_in, ids_in, names_in


class _Steps:
    """Counts the steps that SQLite's virtual machine makes, by tens."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.count = 0
        db.set_progress_handler(self._add, 10)

    def _add(self) -> int:
        self.count += 10
        return 0


class _Opened(list[sqlite3.Connection]):
    """The connections that a log has opened."""

    def connect(self, *args: Any, **options: Any) -> sqlite3.Connection:
        self.append(sqlite3.connect(*args, **options))
        return self[-1]


@pytest.fixture
def opened() -> _Opened:
    return _Opened()


@pytest.fixture
def log(tmp_path: Path, opened: _Opened) -> Iterator[SQLiteLog]:
    log = SQLiteLog(tmp_path / "events.db", opened.connect)
    yield log
    log.close()


def _event(name: str, data: object = None) -> NewEvent:
    return new_event("a", data, event_id=name)


def test_commits_are_synchronous_and_logged_ahead(log: SQLiteLog, opened: _Opened) -> None:
    log.append([_event("a")])
    log.head()
    log.replay(0, 1, EVERYTHING)
    assert len(opened) == 3
    for db in opened:
        assert db.execute("PRAGMA synchronous").fetchone() == (2,)
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_the_file_is_marked_as_ours(log: SQLiteLog) -> None:
    log.append([_event("a")])
    with closing(sqlite3.connect(log.path)) as db:
        assert db.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
        assert db.execute("PRAGMA user_version").fetchone() == (SCHEMA.version,)


def test_a_full_disk_refuses_events_until_there_is_room(log: SQLiteLog, opened: _Opened) -> None:
    log.append([_event("a")])
    (writer,) = opened
    pages = writer.execute("PRAGMA page_count").fetchone()[0]
    writer.execute(f"PRAGMA max_page_count = {pages + 2}")
    batch = [new_event("a", "x" * 1000, event_id=f"b{n}", source="new") for n in range(100)]
    with pytest.raises(LogUnavailable, match="the disk is full; free some space") as caught:
        log.append(batch)
    assert not isinstance(caught.value, LogUnusable)
    assert names_in(log) == [(1, "a")]
    assert log.append(batch).ids == list(range(2, 102))
    assert {event.source.name for event in events_in(log, 1)} == {"new"}


def test_a_log_locked_by_another_program_refuses_events_until_it_is_free(
    tmp_path: Path,
) -> None:
    log = SQLiteLog(tmp_path / "events.db", lock_seconds=0.05)
    log.append([_event("a")])
    with closing(sqlite3.connect(log.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for call in (lambda: log.append([_event("b")]), log.check, lambda: log.prune(2**62, 1)):
            with pytest.raises(LogUnavailable, match="another program has held the file"):
                call()
        assert names_in(log) == [(1, "a")]
        other.execute("ROLLBACK")
    assert log.append([_event("b")]).ids == [2]
    log.close()


def _garbage(path: Path) -> None:
    path.write_bytes(b"this is not a database" * 500)


def _damaged(path: Path) -> None:
    log = SQLiteLog(path)
    log.append([_event(f"e{n}") for n in range(500)])
    log.close()
    with path.open("r+b") as file:
        file.seek(100)
        file.write(b"\xa5" * 8092)


def _foreign(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE theirs (id)")


_SCHEMAS = f".schema {SCHEMA.version + 1}, this one knows {SCHEMA.version}."


def _newer(path: Path) -> None:
    log = SQLiteLog(path)
    log.head()
    log.close()
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {SCHEMA.version + 1}")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_garbage, "the file is no SQLite database; name another in database.url"),
        (_damaged, "the file is damaged; restore a copy"),
        (_foreign, "the database of another program; name another in database.url"),
        (_newer, f"written by a newer flask-sse-sink {_SCHEMAS}; update"),
    ],
)
def test_a_file_that_is_not_our_log_is_refused_and_not_changed(
    log: SQLiteLog, spoil: object, message: str
) -> None:
    assert callable(spoil)
    spoil(log.path)
    before = log.path.read_bytes()
    for call in (log.inspect, lambda: log.append([_event("a")]), log.head, log.check):
        with pytest.raises(LogUnusable, match=message):
            call()
    assert log.path.read_bytes() == before


def test_inspect_creates_no_file_and_accepts_an_empty_one(log: SQLiteLog) -> None:
    log.inspect()
    assert not log.path.exists()
    log.path.touch()
    log.inspect()
    assert log.append([_event("a")]).ids == [1]


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LogUnavailable, match="its folder can't be made"):
        SQLiteLog(tmp_path / "file" / "events.db").head()
    with pytest.raises(LogUnavailable, match="the file can't be opened"):
        SQLiteLog(tmp_path).head()


def test_a_file_removed_while_open_stores_nothing_until_it_is_back(log: SQLiteLog) -> None:
    log.append([_event("a")])
    assert log.head() == 1
    away = log.path.with_name("away.db")
    log.path.rename(away)
    for _ in range(2):
        with pytest.raises(LogUnavailable, match="removed or replaced while it was open"):
            log.append([_event("b")])
        with pytest.raises(LogUnavailable, match="removed or replaced while it was open"):
            log.check()
    away.rename(log.path)
    assert log.append([_event("b")]).ids == [2]


def test_a_file_replaced_while_open_stores_nothing(log: SQLiteLog, tmp_path: Path) -> None:
    log.append([_event("a")])
    assert log.head() == 1
    log.path.rename(tmp_path / "away.db")
    log.path.write_bytes(b"")
    with pytest.raises(LogUnavailable, match="removed or replaced while it was open"):
        log.append([_event("b")])
    assert log.path.read_bytes() == b""


def test_six_that_open_a_fresh_file_at_once_all_succeed(tmp_path: Path) -> None:
    for turn in range(20):
        logs = [SQLiteLog(tmp_path / str(turn) / "events.db") for _ in range(6)]
        barrier = threading.Barrier(6)

        def append(log: SQLiteLog, barrier: threading.Barrier = barrier) -> int:
            barrier.wait()
            return log.append([new_event("a.b")]).ids[0]

        with ThreadPoolExecutor(6) as pool:
            ids = sorted(pool.map(append, logs))
        for log in logs:
            log.close()
        assert ids == [1, 2, 3, 4, 5, 6]


def test_a_file_removed_before_the_log_was_read_is_noticed(tmp_path: Path) -> None:
    log = SQLiteLog(tmp_path / "events.db")
    log.append([new_event("a.b")])
    (tmp_path / "events.db").unlink()
    for attempt in (log.head, lambda: log.append([new_event("a.b")])):
        with pytest.raises(LogUnavailable, match="removed or replaced"):
            attempt()
    log.close()


_FIRST_SCHEMA = """
CREATE TABLE sources (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;
CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    source_id INTEGER NOT NULL REFERENCES sources (id),
    event_id TEXT NOT NULL,
    event_type TEXT NOT NULL,
    entity_id TEXT,
    created_at INTEGER NOT NULL,
    occurred_at TEXT,
    data TEXT NOT NULL,
    meta TEXT NOT NULL,
    UNIQUE (source_id, event_id)
) STRICT;
CREATE TABLE probe (id INTEGER PRIMARY KEY, at INTEGER NOT NULL) STRICT;
INSERT INTO sources VALUES (1, 's'), (2, 'ü');
"""


def _of_the_first_version(path: Path, *rows: tuple[object, ...]) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.executescript(_FIRST_SCHEMA)
        db.executemany("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", rows)
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute("PRAGMA user_version = 1")
        db.commit()


def test_a_file_of_the_first_version_is_migrated(log: SQLiteLog) -> None:
    at = 1_700_000_000_000_001
    _of_the_first_version(
        log.path,
        (1, 1, "gone", "a", None, at, None, "{}", "{}"),
        (2, 1, "one", "a.b", None, at, None, '{"n":1.50}', "{}"),
        (3, 2, "two", "a.c", "u", at, "2024-01-01T00:00:00+00:00", '"\u2028"', '{"m":[]}'),
    )
    with closing(sqlite3.connect(log.path)) as db:
        db.execute("DELETE FROM events WHERE id = 1")
        db.commit()
    log.inspect()
    one, two = events_in(log)
    created_at = "2023-11-14T22:13:20.000001+00:00"
    assert (one.id, one.event_id, one.event_type, one.entity_id) == (2, "one", "a.b", None)
    assert (one.created_at, bytes(one.data), one.source.name) == (created_at, b'{"n":1.50}', "s")
    assert (two.id, two.entity_id, bytes(two.meta)) == (3, "u", b'{"m":[]}')
    assert (two.source.id, two.source.name, bytes(two.data)) == (2, "ü", '"\u2028"'.encode())
    assert log.append([new_event("a", event_id="one", source="s")]) == ([2], 1)
    assert log.append([new_event("a", event_id="three", source="ü")]).ids == [4]
    with closing(sqlite3.connect(log.path)) as db:
        found = db.execute("SELECT occurred_at FROM events ORDER BY id").fetchall()
    assert found == [(None,), ("2024-01-01T00:00:00+00:00",), (None,)]
    log.close()
    assert ids_in(log) == [2, 3, 4]


def test_ids_continue_after_a_migration_without_events(log: SQLiteLog) -> None:
    _of_the_first_version(log.path, (7, 1, "x", "a", None, 1, None, "{}", "{}"))
    with closing(sqlite3.connect(log.path)) as db:
        db.execute("DELETE FROM events")
        db.commit()
    assert log.head() == 7
    assert log.append([_event("a")]).ids == [8]


# The tables of a version in a new file, without those of the versions before.
_SECOND_SCHEMA = """
CREATE TABLE sources (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;
CREATE TABLE probe (id INTEGER PRIMARY KEY, at INTEGER NOT NULL) STRICT;
CREATE TABLE events (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    source_id INTEGER NOT NULL REFERENCES sources (id),
    event_id TEXT NOT NULL,
    event_type TEXT NOT NULL,
    created_at INTEGER NOT NULL, -- microseconds since the epoch
    occurred_at TEXT,
    envelope TEXT NOT NULL, -- JSON
    UNIQUE (source_id, event_id)
) STRICT;
CREATE INDEX events_by_type ON events (event_type);
CREATE TABLE about (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    identity TEXT NOT NULL -- tells this log from one that was made anew
) STRICT;
"""


_FOURTH_SCHEMA = (
    _SECOND_SCHEMA
    + """
ALTER TABLE events ADD COLUMN entity_id TEXT GENERATED ALWAYS AS (
    CASE substr(envelope, instr(envelope, ',"created_at":') - 1, 1) WHEN '"' THEN json_extract(
        substr(envelope, 1, instr(envelope, ',"created_at":') - 1) || '}', '$.entity_id'
    ) END
) VIRTUAL;
CREATE INDEX events_by_entity ON events (entity_id) WHERE entity_id IS NOT NULL;
CREATE TABLE revocations (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    subject TEXT NOT NULL,
    issuer TEXT, -- NULL: whatever the issuer is
    revoked_at INTEGER NOT NULL, -- microseconds since the epoch
    lasting INTEGER NOT NULL, -- holds until it is taken back
    lifted INTEGER NOT NULL -- was taken back
) STRICT;
CREATE INDEX revocations_by_subject ON revocations (subject);
"""
)


def _schema(path: Path) -> set[tuple[str, str, str, str | None]]:
    with closing(sqlite3.connect(path)) as db:
        return set(
            db.execute("SELECT type, name, tbl_name, trim(sql, char(10)) FROM sqlite_schema")
        )


def test_new_files_and_old_ones_get_the_same_tables(log: SQLiteLog, tmp_path: Path) -> None:
    straight = tmp_path / "straight.db"
    with closing(sqlite3.connect(straight, isolation_level=None)) as db:
        db.executescript(_FOURTH_SCHEMA)
        db.execute("PRAGMA user_version = 4")
        SCHEMA.prepare(db, straight)
    log.head()
    assert _schema(log.path) == _schema(straight)
    _of_the_first_version(tmp_path / "old.db")
    old = SQLiteLog(tmp_path / "old.db")
    old.head()
    old.close()
    assert _schema(old.path) == _schema(straight)


def _of_the_second_version(path: Path, *events: NewEvent) -> None:
    """Make a file as the second version would have, with these events and head 9 or more."""
    third = SQLiteLog(path.with_name("third.db"))
    third.append(events)
    records = third.records(0, len(events))
    third.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        Schema(MIGRATIONS[:2]).prepare(db, path)
        envelopes = [decode_envelope(each.envelope) for each in records]
        queries.restore(db, records, envelopes, max(9, len(events)))


def _entities(path: Path) -> list[tuple[int, str | None]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute("SELECT id, entity_id FROM events ORDER BY id").fetchall()


# Some of these would be mistaken where an envelope wasn't parsed.
_ENTITIES = (
    "u",
    None,
    'a","created_at":"x',
    ',"created_at":',
    "null",
    '"',
    "\\",
    'n"\\',
    "é😀",
    "[",
)


def test_a_file_of_the_second_version_is_indexed_by_entity(
    log: SQLiteLog, caplog: pytest.LogCaptureFixture
) -> None:
    confusing = {"entity_id": "v", "created_at": 1}
    events = [
        new_event(
            "a",
            confusing,
            meta=confusing,
            event_id=f'{n},"created_at":{entity_id}',
            source='"entity_id":"v","created_at":',
            entity_id=entity_id,
        )
        for n, entity_id in enumerate(_ENTITIES)
    ]
    _of_the_second_version(log.path, *events)
    assert log.head() == 10
    assert _entities(log.path) == list(enumerate(_ENTITIES, 1))
    assert "indexing 10 events by entity, once" in caplog.text
    for entity_id in filter(None, _ENTITIES):
        criterion = EntityIds(frozenset([entity_id]))
        (row,) = log.replay(0, 9, Filter((selection({"entity_id": criterion}),))).envelopes
        assert decode_envelope(row[1]).entity_id == entity_id


def test_a_long_migration_says_that_it_goes_on(
    log: SQLiteLog, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    _of_the_second_version(log.path, *(new_event("a", entity_id="u") for _ in range(9)))
    monkeypatch.setattr(schema, "_REPORT_SECONDS", 0.0)
    monkeypatch.setattr(schema, "_STEPS", 10)
    log.head()
    assert "still indexing, after 0 s" in caplog.text


def test_a_process_of_the_version_before_may_go_on_appending(log: SQLiteLog) -> None:
    _of_the_second_version(log.path)
    envelope = '{"id":11,"event_id":"x","event_type":"a","entity_id":"u","created_at":"2026"}'
    with closing(sqlite3.connect(log.path, isolation_level=None)) as old:
        insert = "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?)"
        assert old.execute("SELECT count(*) FROM events").fetchone() == (0,)
        assert log.append([new_event("a", entity_id="u")]).ids == [10]
        old.execute(insert, (11, 1, "x", "a", 1, None, envelope))
    assert _entities(log.path) == [(10, "u"), (11, "u")]


@pytest.mark.parametrize(
    ("query", "count", "index"),
    [
        ({"entity_id": ["u1", "u2"]}, 9, "events_by_entity"),
        ({"entity_id": ["u1"], "event_type": ["a"], "source": ["s"]}, 1, "events_by_entity"),
        ({"event_type": ["a", "b"], "source": ["s"]}, 1, "events_by_type"),
        ({"source": ["s", "t"]}, 1, "sqlite_autoindex_events_1"),
    ],
)
def test_a_narrow_replay_reads_an_index(
    log: SQLiteLog, opened: _Opened, query: dict[str, list[str]], count: int, index: str
) -> None:
    log.append([new_event("c", entity_id=f"u{n % 50}", source=f"s{n % 20}") for n in range(200)])
    log.append([new_event("a", entity_id="u1", source="s")])
    filter = parse_query(query)
    log.replay(0, 500, filter)
    (replayer,) = opened[1:]
    statements: list[str] = []
    replayer.set_trace_callback(statements.append)
    steps = _Steps(replayer)
    assert len(log.replay(0, 500, filter).envelopes) == count
    replayer.set_trace_callback(None)
    # To read all events takes some 1,500.
    assert steps.count < 600
    plans = [
        str(row[3])
        for statement in statements
        if statement.startswith("SELECT id")
        for row in replayer.execute(f"EXPLAIN QUERY PLAN {statement}")
    ]
    reads = [plan for plan in plans if " events " in f"{plan} "]
    assert not any(plan.startswith("SCAN") for plan in reads), plans
    assert {index, "PRIMARY"} == {
        "PRIMARY" if "INTEGER PRIMARY KEY" in plan else plan.split("INDEX ")[1].split()[0]
        for plan in reads
    }


def test_a_source_with_many_events_is_read_through(
    log: SQLiteLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matching, "WINDOW", 50)
    log.append([new_event("a", source="s" if n % 3 else "t") for n in range(300)])
    page = log.replay(0, 500, parse_query({"source": ["t"]}))
    assert (len(page.envelopes), page.through, page.more) == (17, 50, True)
    # There are fewer events to read than the index has.
    page = log.replay(290, 500, parse_query({"source": ["t"]}))
    assert (len(page.envelopes), page.through, page.more) == (3, 300, False)


def test_a_new_file_is_created_without_a_warning(
    log: SQLiteLog, caplog: pytest.LogCaptureFixture
) -> None:
    assert log.head() == 0
    assert not caplog.records


def test_a_file_is_migrated_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "events.db"
    row = (1, 1, "x", "a", None, 1, None, "{}", "{}")
    _of_the_first_version(path, row)

    def fail(db: sqlite3.Connection, path: Path) -> None:
        db.execute("CREATE TABLE more (id)")
        raise sqlite3.OperationalError("no room")

    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        with pytest.raises(sqlite3.OperationalError, match="no room"):
            Schema([*MIGRATIONS, fail]).prepare(db, path)
        assert db.execute("SELECT * FROM events").fetchall() == [row]
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
    log = SQLiteLog(path)
    assert log.head() == 1
    log.close()


@pytest.mark.parametrize("version", [0, 1, SCHEMA.version])
def test_one_more_migration_is_a_new_version(
    log: SQLiteLog, caplog: pytest.LogCaptureFixture, version: int
) -> None:
    if version == 1:
        _of_the_first_version(log.path, (1, 1, "x", "a", None, 1, None, "{}", "{}"))
    elif version:
        log.append([_event("x")])
        log.close()

    def add_column(db: sqlite3.Connection, path: Path) -> None:
        db.execute("ALTER TABLE events ADD COLUMN more TEXT")

    newer = Schema([*MIGRATIONS, add_column])
    with closing(sqlite3.connect(log.path, isolation_level=None)) as db:
        newer.check(db, log.path)
        assert newer.prepare(db, log.path)
        assert not newer.prepare(db, log.path)
        newer.check(db, log.path)
        kept = db.execute("SELECT id, event_id, more FROM events").fetchall()
        assert kept == ([(1, "x", None)] if version else [])
        assert db.execute("PRAGMA user_version").fetchone() == (SCHEMA.version + 1,)
        with pytest.raises(LogUnusable, match=f"newer flask-sse-sink {_SCHEMAS}"):
            SCHEMA.check(db, log.path)
    assert ("bringing 1 events to this version's schema" in caplog.text) == (version == 1)


def test_checks_leave_nothing_that_grows(log: SQLiteLog) -> None:
    log.append([_event("a")])
    sizes = []
    for _ in range(2):
        for _ in range(50):
            log.check()
        with closing(sqlite3.connect(log.path)) as db:
            sizes.append(db.execute("PRAGMA page_count").fetchone()[0])
    assert sizes[0] == sizes[1]
