"""Several processes use one SQLite log, and some of them are killed."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from flask_sse_sink.event import NewEvent, decode_envelope
from flask_sse_sink.filters import parse_query
from flask_sse_sink.log.sqlite import queries
from flask_sse_sink.log.sqlite.log import SQLiteLog
from flask_sse_sink.log.sqlite.schema import MIGRATIONS, Schema
from flask_sse_sink.submission import new_event
from support.logs import events_in, names_in

# Appends single events for ever, or `count` of them, and prints each id when it is answered.
_APPENDER = """
import sys
from flask_sse_sink.submission import new_event
from flask_sse_sink.log.sqlite.log import SQLiteLog
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


def _appender(log: SQLiteLog, name: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", _APPENDER, str(log.path), name, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def _answers(output: str) -> list[tuple[int, str]]:
    # A line cut off by a kill is no answer.
    whole = [line.split() for line in output.split("\n")[:-1]]
    return [(int(id), name) for id, name in whole]


@pytest.mark.once
def test_whoever_is_killed_leaves_every_answered_event_once(log: SQLiteLog) -> None:
    answered: list[tuple[int, str]] = []
    for turn in range(3):
        process = _appender(log, f"p{turn}", -1)
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(10 + turn)]
        os.kill(process.pid, signal.SIGKILL)
        # communicate() would lose the lines that readline() has read ahead.
        rest = process.stdout.read()
        process.communicate(timeout=30)
        answered += _answers("".join(lines) + rest)
    stored = names_in(log)
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
    assert answered == names_in(log)
    assert [id for id, _ in answered] == list(range(1, 201))


_FILL = """
import resource, sys
from pathlib import Path
from flask_sse_sink.submission import new_event
from flask_sse_sink.exceptions import LogUnavailable
from flask_sse_sink.log.sqlite.log import SQLiteLog

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


EVENTS = 3_000


def _make_second_version(path: Path) -> None:
    """Make a file of the version before, in which every third event has an entity."""
    with closing(SQLiteLog(path.with_name("new.db"))) as new:
        new.append([new_event("a", entity_id=None if n % 3 else f"u{n}") for n in range(EVENTS)])
        records = new.records(0, EVENTS)
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        Schema(MIGRATIONS[:2]).prepare(db, path)
        events = [decode_envelope(record.envelope) for record in records]
        queries.restore(db, records, events, EVENTS)


def _check_second_version(path: Path) -> None:
    """Fail unless the version before could use the file."""
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (2,)
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        columns = [row[1] for row in db.execute("PRAGMA table_xinfo(events)")]
        assert "entity_id" not in columns
        assert db.execute("SELECT count(*) FROM events").fetchone() == (EVENTS,)


def _check_indexed(log: SQLiteLog) -> None:
    assert log.append([new_event("a", entity_id="u9")]).ids == [EVENTS + 1]
    assert len(events_in(log)) == EVENTS + 1
    page = log.replay(0, 10, parse_query({"entity_id": ["u9"]}))
    assert [id for id, _ in page.envelopes] == [10, EVENTS + 1]


# Migrates a file, and waits for ever in the middle.
_MIGRATE_AND_WAIT = """
import logging, sys, time
from flask_sse_sink.log.sqlite import schema
from flask_sse_sink.log.sqlite.log import SQLiteLog

class Wait(logging.Handler):
    def emit(self, record):
        if "still indexing" in record.getMessage():
            self.reports = getattr(self, "reports", 0) + 1
            if self.reports == int(sys.argv[2]):
                print("waiting", flush=True)
                time.sleep(600)

schema._REPORT_SECONDS, schema._STEPS = 0.0, 1_000
logging.getLogger("flask_sse_sink").addHandler(Wait())
SQLiteLog(sys.argv[1]).head()
print("done", flush=True)
"""


@pytest.mark.once
@pytest.mark.parametrize("reports", [1, 20, 60])
def test_a_migration_that_is_killed_leaves_the_file_as_it_was(
    log: SQLiteLog, reports: int
) -> None:
    _make_second_version(log.path)
    command = [sys.executable, "-c", _MIGRATE_AND_WAIT, str(log.path), str(reports)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        os.kill(process.pid, signal.SIGKILL)
    _check_second_version(log.path)
    _check_indexed(log)


_MIGRATE_ON_A_FULL_DISK = """
import resource, sys
from flask_sse_sink.exceptions import LogUnavailable, LogUnusable
from flask_sse_sink.log.sqlite.log import SQLiteLog

hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), hard))
try:
    SQLiteLog(sys.argv[1]).head()
except LogUnavailable as error:
    assert "disk" in str(error) and not isinstance(error, LogUnusable), error
else:
    sys.exit("there was room")
"""


@pytest.mark.once
@pytest.mark.parametrize("room", [0, 8_000, 16_000, 30_000])
def test_a_migration_without_room_on_the_disk_leaves_the_file_as_it_was(
    log: SQLiteLog, room: int
) -> None:
    _make_second_version(log.path)
    command = [sys.executable, "-c", _MIGRATE_ON_A_FULL_DISK, str(log.path), str(room)]
    for _ in range(2):
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
    _check_second_version(log.path)
    _check_indexed(log)
