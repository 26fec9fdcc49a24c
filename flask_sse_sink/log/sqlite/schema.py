"""What stands in the SQLite file: its tables, its version, and the way up from an older one."""

from __future__ import annotations

import logging
import sqlite3
from pathlib import Path

from msgspec import Raw

from ... import event as envelope
from ...event import Event, Source
from ...exceptions import LogUnusable
from .. import iso

_log = logging.getLogger(__name__)

# "sse1" as a number: tells our files from other programs'.
APPLICATION_ID = 0x73736531
SCHEMA_VERSION = 2
_PROGRESS = 100_000

# AUTOINCREMENT keeps the highest id ever given, so that none comes back after a prune. An event
# is kept as the text that is streamed: a replay joins rows, and encodes nothing.
_EVENTS = """
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
_OTHERS = """
CREATE TABLE sources (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;
CREATE TABLE probe (id INTEGER PRIMARY KEY, at INTEGER NOT NULL) STRICT
"""


def check_version(db: sqlite3.Connection, path: Path) -> None:
    """Refuse a file that isn't ours to use.

    :raises LogUnusable: it is another program's, or a newer version's.
    """
    # The tables are counted first: another process may make them and the two numbers now.
    tables = db.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    version = _version(db)
    application = db.execute("PRAGMA application_id").fetchone()[0]
    if not tables:
        return
    if application != APPLICATION_ID:
        raise LogUnusable(f"{path}: the database of another program; name another in database.url")
    if version > SCHEMA_VERSION:
        raise LogUnusable(
            f"{path}: written by a newer flask-sse-sink (schema {version}, this one "
            f"knows {SCHEMA_VERSION}); update this one, or name another in database.url"
        )


def prepare(db: sqlite3.Connection, path: Path) -> bool:
    """Make the tables where there are none, and bring older ones up; return whether it did."""
    if _version(db) == SCHEMA_VERSION:
        return False
    db.execute("BEGIN IMMEDIATE")
    try:
        # Another process may have been faster.
        version = _version(db)
        if version == 0:
            _run(db, _OTHERS)
            _run(db, _EVENTS)
            db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        elif version == 1:
            _rise_from_1(db, path)
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise
    return True


def _version(db: sqlite3.Connection) -> int:
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    return version


def _run(db: sqlite3.Connection, statements: str) -> None:
    for statement in statements.split(";\n"):
        db.execute(statement)


def _rise_from_1(db: sqlite3.Connection, path: Path) -> None:
    """Make envelopes of the columns in which the first version kept an event."""
    count = db.execute("SELECT count(*) FROM events").fetchone()[0]
    _log.warning("%s: bringing %d events to this version's schema, once", path, count)
    sources = dict(db.execute("SELECT id, name FROM sources"))
    db.execute("ALTER TABLE events RENAME TO old_events")
    _run(db, _EVENTS)
    rows = db.execute(
        "SELECT id, source_id, event_id, event_type, created_at, occurred_at,"
        " entity_id, data, meta FROM old_events ORDER BY id"
    )
    for done, row in enumerate(rows, 1):
        id, source_id, event_id, event_type, created_at, _, entity_id, data, meta = row
        source = Source(source_id, sources[source_id])
        event = Event(
            *(id, event_id, event_type, entity_id, iso(created_at), Raw(data), source, Raw(meta))
        )
        text = envelope.encode(event).decode()
        db.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?)", (*row[:6], text))
        if done % _PROGRESS == 0:
            _log.warning("%s: %d of %d events", path, done, count)
    # Where all was pruned, the highest id is kept here alone.
    db.execute("DELETE FROM sqlite_sequence WHERE name = 'events'")
    db.execute("UPDATE sqlite_sequence SET name = 'events' WHERE name = 'old_events'")
    db.execute("DROP TABLE old_events")
