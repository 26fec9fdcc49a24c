"""The log's questions to its SQLite file; the caller lends the connection for each."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import msgspec

from ...event import Event
from ..protocol import LogStatus, Record, StoredEnvelope

#: A row of ``events``: id, source id, event id, type, when stored, when it happened, envelope.
EventRow = tuple[int, int, str, str, int, str | None, str]

# Up to so many rows are inserted by one statement. Python keeps the last 128 statements prepared.
_MOST_ROWS = 16
_INSERTS = [
    f"INSERT INTO events VALUES {', '.join(['(?, ?, ?, ?, ?, ?, ?)'] * count)}"
    for count in range(_MOST_ROWS + 1)
]


def head(db: sqlite3.Connection) -> int:
    """Return the highest id ever given, 0 where none was."""
    row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()
    return row[0] if row else 0


def identity(db: sqlite3.Connection) -> str:
    """Return the log's identity."""
    name: str = db.execute("SELECT identity FROM about").fetchone()[0]
    return name


def oldest(db: sqlite3.Connection) -> int:
    """Return the lowest id that is kept; where none is, the next id to be given."""
    id: int | None = db.execute("SELECT min(id) FROM events").fetchone()[0]
    return head(db) + 1 if id is None else id


def status(db: sqlite3.Connection) -> LogStatus:
    """Return how much the database holds, without what is only in its write-ahead log."""
    newest = head(db)
    (size_bytes,) = db.execute(
        "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()"
    ).fetchone()
    first = db.execute("SELECT id, created_at FROM events ORDER BY id LIMIT 1").fetchone()
    if first is None:
        return LogStatus(newest, 0, size_bytes, 0)
    # Ids have no gaps, and counting the rows would read them all.
    (last,) = db.execute("SELECT max(id) FROM events").fetchone()
    return LogStatus(newest, last - first[0] + 1, size_bytes, first[1])


def envelopes(db: sqlite3.Connection, after: int, limit: int) -> list[StoredEnvelope]:
    """Return up to ``limit`` events with ids above ``after``, lowest first."""
    return db.execute(
        "SELECT id, CAST(envelope AS BLOB) FROM events WHERE id > ? ORDER BY id LIMIT ?",
        (after, limit),
    ).fetchall()


def dates(db: sqlite3.Connection, after: int, limit: int) -> list[tuple[int, int]]:
    """Return ids and dates of up to ``limit`` events with ids above ``after``, lowest first.

    Dates are in microseconds since the epoch.
    """
    sql = "SELECT id, created_at FROM events WHERE id > ? ORDER BY id LIMIT ?"
    return db.execute(sql, (after, limit)).fetchall()


def head_before(db: sqlite3.Connection, before_us: int) -> int:
    """Return the id of the newest event stored before a time, in microseconds since the epoch.

    Where no event that old is kept, it is the newest id that was pruned, or 0.
    """
    high = head(db)
    low = oldest(db) - 1
    # Ids rise with time unless somebody sets the clock back; an index would cost more.
    while low < high:
        middle = (low + high + 1) // 2
        row = db.execute("SELECT created_at FROM events WHERE id = ?", (middle,)).fetchone()
        if row[0] < before_us:
            low = middle
        else:
            high = middle - 1
    return low


def known_ids(
    db: sqlite3.Connection, keys: Sequence[tuple[int, str]]
) -> dict[tuple[int, str], int]:
    """Return the ids of those (source id, event id) pairs that are in the log."""
    if len(keys) == 1:
        sql = "SELECT id FROM events WHERE source_id = ? AND event_id = ?"
        row = db.execute(sql, keys[0]).fetchone()
        return {keys[0]: row[0]} if row else {}
    known = {}
    for source_id in {source_id for source_id, _ in keys}:
        names = [event_id for source, event_id in keys if source == source_id]
        for event_id, id in db.execute(
            "SELECT event_id, id FROM events WHERE source_id = ?"
            " AND event_id IN (SELECT value FROM json_each(?))",
            (source_id, msgspec.json.encode(names).decode()),
        ):
            known[source_id, event_id] = id
    return known


def insert(db: sqlite3.Connection, rows: Sequence[EventRow]) -> None:
    """Insert events.

    A few rows are one statement: between two of them another thread could take the interpreter.
    """
    if len(rows) > _MOST_ROWS:
        db.executemany(_INSERTS[1], rows)
    elif rows:
        db.execute(_INSERTS[len(rows)], [value for row in rows for value in row])


def source_id(db: sqlite3.Connection, name: str) -> int:
    """Return the id of a source, which it gets now if it is new."""
    db.execute("INSERT OR IGNORE INTO sources (name) VALUES (?)", (name,))
    id: int = db.execute("SELECT id FROM sources WHERE name = ?", (name,)).fetchone()[0]
    return id


def records(db: sqlite3.Connection, after: int, limit: int) -> list[Record]:
    """Return up to ``limit`` events with ids above ``after``, with all that is kept of each."""
    sql = "SELECT id, created_at, occurred_at, CAST(envelope AS BLOB) FROM events"
    rows = db.execute(f"{sql} WHERE id > ? ORDER BY id LIMIT ?", (after, limit))
    return [Record(*row) for row in rows]


def restore(
    db: sqlite3.Connection, records: Sequence[Record], events: Sequence[Event], head: int
) -> None:
    """Insert records, whose events these are, and let ``head`` be the highest id ever given."""
    sources = {(event.source.id, event.source.name) for event in events}
    db.executemany("INSERT OR IGNORE INTO sources (id, name) VALUES (?, ?)", sources)
    insert(
        db,
        [
            (
                record.id,
                event.source.id,
                event.event_id,
                event.event_type,
                record.created_at_us,
                record.occurred_at,
                record.envelope.decode(),
            )
            for record, event in zip(records, events, strict=True)
        ],
    )
    # The highest id may be of an event that was pruned.
    db.execute("DELETE FROM sqlite_sequence WHERE name = 'events'")
    db.execute("INSERT INTO sqlite_sequence VALUES ('events', ?)", (head,))
