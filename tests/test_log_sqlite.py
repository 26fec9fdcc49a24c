"""The SQLite log when disks, files and processes fail."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from flask_sse_sink.event import NewEvent, new_event
from flask_sse_sink.exceptions import LogUnavailable, LogUnusable
from flask_sse_sink.log.sqlite import log as sqlite
from flask_sse_sink.log.sqlite import schema
from flask_sse_sink.log.sqlite.log import SQLiteLog

# Appends single events for ever, or `count` of them, and prints each id when it is answered.
_APPENDER = """
import sys
from flask_sse_sink.event import new_event
from flask_sse_sink.log.sqlite import SQLiteLog
path, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
log = SQLiteLog(path)
turn = 0
while turn != count:
    made = log.append([new_event("a", event_id=f"{name}-{turn}")])
    print(made.ids[0], f"{name}-{turn}", flush=True)
    turn += 1
"""


@pytest.fixture
def log(tmp_path: Path) -> Iterator[SQLiteLog]:
    log = SQLiteLog(tmp_path / "events.db")
    yield log
    log.close()


def _event(name: str, data: object = None) -> NewEvent:
    return new_event("a", data, event_id=name)


def _stored(log: SQLiteLog) -> list[tuple[int, str]]:
    return [(event.id, event.event_id) for event in log.read(0, 100_000)]


def _appender(log: SQLiteLog, name: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _APPENDER, str(log.path), name, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _answers(output: str) -> list[tuple[int, str]]:
    # A line cut off by a kill is no answer.
    whole = [line.split() for line in output.split("\n")[:-1]]
    return [(int(id), name) for id, name in whole]


def test_commits_are_synchronous_and_logged_ahead(log: SQLiteLog) -> None:
    log.append([_event("a")])
    log.head()
    for db in (log._writer, log._reader):
        assert db is not None
        assert db.execute("PRAGMA synchronous").fetchone() == (2,)
        assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


def test_the_file_is_marked_as_ours(log: SQLiteLog) -> None:
    log.append([_event("a")])
    with closing(sqlite3.connect(log.path)) as db:
        assert db.execute("PRAGMA application_id").fetchone() == (schema.APPLICATION_ID,)
        assert db.execute("PRAGMA user_version").fetchone() == (schema.SCHEMA_VERSION,)


def test_a_full_disk_stores_nothing_and_is_told_and_gone_when_there_is_room(
    log: SQLiteLog,
) -> None:
    log.append([_event("a")])
    assert log._writer is not None
    pages = log._writer.execute("PRAGMA page_count").fetchone()[0]
    log._writer.execute(f"PRAGMA max_page_count = {pages + 2}")
    batch = [new_event("a", "x" * 1000, event_id=f"b{n}", source="new") for n in range(100)]
    with pytest.raises(LogUnavailable, match="the disk is full; free some space") as caught:
        log.append(batch)
    assert not isinstance(caught.value, LogUnusable)
    assert _stored(log) == [(1, "a")]
    assert log.append(batch).ids == list(range(2, 102))
    assert {event.source.name for event in log.read(1, 1000)} == {"new"}


def test_a_log_locked_by_another_program_is_told_and_comes_back(
    log: SQLiteLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "LOCK_SECONDS", 0.05)
    log.append([_event("a")])
    with closing(sqlite3.connect(log.path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        for call in (lambda: log.append([_event("b")]), log.check, lambda: log.prune(2**62, 1)):
            with pytest.raises(LogUnavailable, match="another program has held the file"):
                call()
        assert _stored(log) == [(1, "a")]
        other.execute("ROLLBACK")
    assert log.append([_event("b")]).ids == [2]


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


def _newer(path: Path) -> None:
    log = SQLiteLog(path)
    log.head()
    log.close()
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {schema.SCHEMA_VERSION + 1}")


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (_garbage, "the file is no SQLite database; name another in database.url"),
        (_damaged, "the file is damaged; restore a copy"),
        (_foreign, "the database of another program; name another in database.url"),
        (_newer, "written by a newer flask-sse-sink .schema 3, this one knows 2.; update"),
    ],
)
def test_a_file_that_is_no_log_of_ours_is_unusable_and_left_alone(
    log: SQLiteLog, spoil: object, message: str
) -> None:
    assert callable(spoil)
    spoil(log.path)
    before = log.path.read_bytes()
    for call in (log.inspect, lambda: log.append([_event("a")]), log.head, log.check):
        with pytest.raises(LogUnusable, match=message):
            call()
    assert log.path.read_bytes() == before


def test_inspect_makes_no_file_and_takes_an_empty_one(log: SQLiteLog) -> None:
    log.inspect()
    assert not log.path.exists()
    log.path.touch()
    log.inspect()
    assert log.append([_event("a")]).ids == [1]


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
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


def test_whoever_is_killed_leaves_every_answered_event_once(log: SQLiteLog) -> None:
    answered: list[tuple[int, str]] = []
    for turn in range(3):
        process = _appender(log, f"p{turn}", -1)
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(10 + turn)]
        os.kill(process.pid, signal.SIGKILL)
        rest, _ = process.communicate(timeout=30)
        answered += _answers("".join(lines) + rest)
    stored = _stored(log)
    assert [id for id, _ in stored] == list(range(1, len(stored) + 1))
    assert len({name for _, name in stored}) == len(stored)
    assert set(answered) <= set(stored)
    assert len(stored) - len(answered) <= 3
    assert log.append([_event("after")]).ids == [len(stored) + 1]


def test_two_processes_store_with_ids_unique_and_without_gaps(log: SQLiteLog) -> None:
    log.check()
    processes = [_appender(log, name, 100) for name in ("one", "two")]
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    answered = sorted(answer for output in outputs for answer in _answers(output))
    assert answered == _stored(log)
    assert [id for id, _ in answered] == list(range(1, 201))


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
CREATE TABLE sources (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
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
        db.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        db.execute("PRAGMA user_version = 1")
        db.commit()


def test_a_log_of_the_first_version_is_brought_up(log: SQLiteLog) -> None:
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
    one, two = log.read(0, 10)
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
    assert [event.id for event in log.read(0, 10)] == [2, 3, 4]


def test_ids_go_on_though_all_was_pruned_before_it_was_brought_up(log: SQLiteLog) -> None:
    _of_the_first_version(log.path, (7, 1, "x", "a", None, 1, None, "{}", "{}"))
    with closing(sqlite3.connect(log.path)) as db:
        db.execute("DELETE FROM events")
        db.commit()
    assert log.head() == 7
    assert log.append([_event("a")]).ids == [8]


def test_a_log_is_brought_up_whole_or_not_at_all(
    log: SQLiteLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = (1, 1, "x", "a", None, 1, None, "{}", "{}")
    _of_the_first_version(log.path, row)

    def fail(microseconds: int) -> str:
        raise sqlite3.OperationalError("no room")

    with monkeypatch.context() as patch:
        patch.setattr(schema, "iso", fail)
        with pytest.raises(LogUnavailable, match="no room"):
            log.head()
    with closing(sqlite3.connect(log.path)) as db:
        assert db.execute("SELECT * FROM events").fetchall() == [row]
    assert log.head() == 1


_FILL = """
import resource, sys
from pathlib import Path
from flask_sse_sink.event import new_event
from flask_sse_sink.exceptions import LogUnavailable
from flask_sse_sink.log.sqlite import SQLiteLog

def refuses(call):
    try:
        call()
    except LogUnavailable as error:
        assert "disk" in str(error), error
        return True
    return False

hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
for room in range(0, 60_000, 3_000):
    log = SQLiteLog(Path(sys.argv[1]) / str(room) / "events.db")
    # A server has the reading connection open; without it SQLite empties its file of new pages.
    log.head()
    log.check()
    log.append([new_event("a")])
    wal = log.path.with_name("events.db-wal").stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (wal + room, hard))
    while not refuses(lambda: log.append([new_event("a", "x" * 4_000)])):
        pass
    assert refuses(log.check), room
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    log.check()
    assert log.append([new_event("a")]).accepted == 1
    log.close()
"""


def test_where_an_event_has_no_room_a_check_fails(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _FILL, str(tmp_path)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_checks_leave_nothing_that_grows(log: SQLiteLog) -> None:
    log.append([_event("a")])
    sizes = []
    for _ in range(2):
        for _ in range(50):
            log.check()
        with closing(sqlite3.connect(log.path)) as db:
            sizes.append(db.execute("PRAGMA page_count").fetchone()[0])
    assert sizes[0] == sizes[1]
