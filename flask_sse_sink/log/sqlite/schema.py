"""The tables of the SQLite file, as a chain of migrations.

A file's version is the number of migrations it has been through. A new file goes through all of
them; so does every older one, from where it is. To add a version, append one function to
:data:`MIGRATIONS`. Never change one that has been released.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from msgspec import Raw

from ...event import Event, Source, encode_envelope
from ...exceptions import LogUnusable
from ..protocol import iso

_log = logging.getLogger(__name__)

#: "sse1" as a number: distinguishes our files from other programs'.
APPLICATION_ID = 0x73736531
# After so many events each, a migration that rewrites all of them logs how far it is.
_PROGRESS = 100_000
# A migration that is one long statement says so often that it goes on, and looks at the clock
# after so many steps of SQLite's virtual machine.
_REPORT_SECONDS = 10.0
_STEPS = 100_000

#: Brings a file from one version to the next, in a transaction. ``path`` is for log messages.
Migration = Callable[[sqlite3.Connection, Path], None]


class Schema:
    """What a chain of migrations makes of a file."""

    def __init__(self, migrations: Sequence[Migration]) -> None:
        self._migrations = migrations

    @property
    def version(self) -> int:
        """Return the version that a file has after the last migration."""
        return len(self._migrations)

    def check(self, db: sqlite3.Connection, path: Path) -> None:
        """Refuse a file that can't become a log of this version.

        :raises LogUnusable: it belongs to another program, or to a newer version.
        """
        # The tables are counted first: another process may create them and set both numbers now.
        tables = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
        version = _version_of(db)
        application = db.execute("PRAGMA application_id").fetchone()[0]
        if not tables:
            return
        if application != APPLICATION_ID:
            raise LogUnusable(
                f"{path}: the database of another program; name another in database.url"
            )
        if version > self.version:
            raise LogUnusable(
                f"{path}: written by a newer flask-sse-sink (schema {version}, this one "
                f"knows {self.version}); update this one, or name another in database.url"
            )

    def prepare(self, db: sqlite3.Connection, path: Path) -> bool:
        """Bring a file to this version, whole or not at all; return whether it wasn't before."""
        if _version_of(db) == self.version:
            return False
        db.execute("BEGIN IMMEDIATE")
        try:
            # Another process may have been faster: the version is read again, under the lock.
            for migrate in self._migrations[_version_of(db) :]:
                migrate(db, path)
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            db.execute(f"PRAGMA user_version = {self.version}")
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        return True


def _version_of(db: sqlite3.Connection) -> int:
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    return version


def _run(db: sqlite3.Connection, statements: str) -> None:
    for statement in statements.split(";\n"):
        db.execute(statement)


def _create(db: sqlite3.Connection, path: Path) -> None:
    """Create the tables of version 1, which has a column for each field of an event."""
    _run(db, _VERSION_1)


_VERSION_1 = """
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
CREATE TABLE probe (id INTEGER PRIMARY KEY, at INTEGER NOT NULL) STRICT
"""


def _store_envelopes(db: sqlite3.Connection, path: Path) -> None:
    """Keep each event as its envelope, index events by type, and give the log an identity."""
    db.execute("ALTER TABLE events RENAME TO old_events")
    _run(db, _VERSION_2)
    count = db.execute("SELECT count(*) FROM old_events").fetchone()[0]
    if count:
        _log.warning("%s: bringing %d events to this version's schema, once", path, count)
    sources = dict(db.execute("SELECT id, name FROM sources"))
    rows = db.execute(
        "SELECT id, source_id, event_id, event_type, created_at, occurred_at,"
        " entity_id, data, meta FROM old_events ORDER BY id"
    )
    for done, row in enumerate(rows, 1):
        id, source_id, event_id, event_type, created_at, _, entity_id, data, meta = row
        event = Event(
            id,
            event_id,
            event_type,
            entity_id,
            iso(created_at),
            Raw(data),
            Source(source_id, sources[source_id]),
            Raw(meta),
        )
        envelope = encode_envelope(event).decode()
        db.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?)", (*row[:6], envelope))
        if done % _PROGRESS == 0:
            _log.warning("%s: %d of %d events", path, done, count)
    # Where every event was pruned, this row alone has the highest id.
    db.execute("DELETE FROM sqlite_sequence WHERE name = 'events'")
    db.execute("UPDATE sqlite_sequence SET name = 'events' WHERE name = 'old_events'")
    db.execute("DROP TABLE old_events")


# AUTOINCREMENT keeps the highest id ever given, so that none comes back after a prune. An event
# is kept as the text that is streamed: a replay joins rows, and encodes nothing.
_VERSION_2 = """
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
-- And by id, as every index is.
CREATE INDEX events_by_type ON events (event_type);
CREATE TABLE about (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    identity TEXT NOT NULL -- tells this log from one that was made anew
) STRICT;
INSERT INTO about VALUES (1, lower(hex(randomblob(8))))
"""


def _index_entities(db: sqlite3.Connection, path: Path) -> None:
    """Index events by the entity that they are about; those about none aren't in the index."""
    count = db.execute("SELECT count(*) FROM events").fetchone()[0]
    if count:
        _log.warning("%s: indexing %d events by entity, once", path, count)
    began = time.monotonic()

    def report() -> None:
        _log.warning("%s: still indexing, after %.0f s", path, time.monotonic() - began)

    with _every_seconds(db, _REPORT_SECONDS, report):
        _run(db, _VERSION_3)


# A generated column, as it is cheaper: a million events take 2.5 s and 4 % more space. A stored
# column takes 4.6 s, 19 % more space and a journal as large as the file. And a process of the
# version before that has the file open goes on appending.
# Only the envelope's beginning is parsed, up to the first key "created_at": a text can't hold
# that, as its quotes are escaped. Where the beginning ends in `null`, nothing is parsed.
_VERSION_3 = """
ALTER TABLE events ADD COLUMN entity_id TEXT GENERATED ALWAYS AS (
    CASE substr(envelope, instr(envelope, ',"created_at":') - 1, 1) WHEN '"' THEN json_extract(
        substr(envelope, 1, instr(envelope, ',"created_at":') - 1) || '}', '$.entity_id'
    ) END
) VIRTUAL;
CREATE INDEX events_by_entity ON events (entity_id) WHERE entity_id IS NOT NULL
"""


@contextmanager
def _every_seconds(
    db: sqlite3.Connection, seconds: float, report: Callable[[], None]
) -> Iterator[None]:
    """Call ``report`` from inside of long statements, about every so many seconds."""
    due = time.monotonic() + seconds

    def look() -> int:
        nonlocal due
        if time.monotonic() >= due:
            due += seconds
            report()
        return 0

    db.set_progress_handler(look, _STEPS)
    try:
        yield
    finally:
        db.set_progress_handler(None, 0)


def _add_revocations(db: sqlite3.Connection, path: Path) -> None:
    """Add the table of revocations, which AUTOINCREMENT gives rising positions."""
    statements = """
CREATE TABLE revocations (
    position INTEGER PRIMARY KEY AUTOINCREMENT,
    subject TEXT NOT NULL,
    issuer TEXT, -- NULL: whatever the issuer is
    revoked_at INTEGER NOT NULL, -- microseconds since the epoch
    lasting INTEGER NOT NULL, -- holds until it is taken back
    lifted INTEGER NOT NULL -- was taken back
) STRICT;
CREATE INDEX revocations_by_subject ON revocations (subject)
"""
    _run(db, statements)


def _create_pulled(db: sqlite3.Connection, path: Path) -> None:
    """Create the tables of pulled sinks."""
    _run(db, _PULLED)


# States of a pulled event's row are those of `deliveries.py`. For an event that is confirmed,
# `until` is its id, so that the index finds those at or below the cursor.
_PULLED = """
CREATE TABLE pulled_sinks (
    number INTEGER PRIMARY KEY,
    name TEXT UNIQUE, -- null where the sink was forgotten, and the number may be given again
    cursor INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    batches INTEGER NOT NULL, -- how many it has had
    missed TEXT NOT NULL, -- JSON: reports of what was pruned unconfirmed
    last_missed INTEGER NOT NULL, -- the id of the newest report ever
    used_at INTEGER NOT NULL -- microseconds since the epoch
) STRICT;
CREATE TABLE pulled_events (
    sink INTEGER NOT NULL,
    id INTEGER NOT NULL,
    state INTEGER NOT NULL,
    batch INTEGER NOT NULL, -- the last that leased it
    attempts INTEGER NOT NULL,
    until INTEGER NOT NULL, -- when its lease or its delay ends
    PRIMARY KEY (sink, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX pulled_events_by_state ON pulled_events (sink, state, until);
CREATE TABLE pulled_batches (
    batch INTEGER PRIMARY KEY,
    sink INTEGER NOT NULL,
    after INTEGER, -- null where confirming the batch doesn't move the cursor
    through INTEGER NOT NULL,
    ids TEXT NOT NULL,
    missed INTEGER NOT NULL, -- the id of the report that the batch had
    kept_until INTEGER NOT NULL
) STRICT
"""


#: ``MIGRATIONS[n]`` brings a file from version ``n`` to ``n + 1``.
MIGRATIONS: tuple[Migration, ...] = (
    _create,
    _store_envelopes,
    _index_entities,
    _add_revocations,
    _create_pulled,
)
SCHEMA = Schema(MIGRATIONS)
