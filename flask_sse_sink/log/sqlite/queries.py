"""The log's questions to its SQLite file; the caller lends the connection for each."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import msgspec

from ...event import Event, decode_envelope
from ...filters import Filter
from ...filters.patterns import TypePatterns
from ..protocol import NARROW_TYPES, PAGE_BYTES, Record, StoredEnvelope

# How many events one page of a replay reads at most, where the filter is a wide one.
WINDOW = 20_000


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


def matching(
    db: sqlite3.Connection, filter: Filter, after: int, end: int, limit: int
) -> tuple[list[StoredEnvelope], int]:
    """Return the events above ``after`` and up to ``end`` that the filter lets through.

    Lowest first, ``limit`` of them at most, and the id up to which there are no others. That is
    below ``end`` where the page is full.
    """
    sql = "SELECT id, CAST(envelope AS BLOB) FROM events WHERE id > ? AND id <= ?"
    values: list[int | str] = [after, end]
    patterns = filter.types
    if not patterns.everything:
        types = _types(db, patterns)
        if types is None:
            end = min(end, after + WINDOW)
            # The plus keeps SQLite from sorting every event that ever matched.
            either = ["+event_type IN (SELECT value FROM json_each(?))"]
            either += ["(+event_type >= ? AND +event_type < ?)"] * len(patterns.prefixes)
            sql += f" AND ({' OR '.join(either)})"
            values = [after, end, msgspec.json.encode(sorted(patterns.exact)).decode()]
            for prefix in patterns.prefixes:
                values += [prefix, _after_prefix(prefix)]
        elif types:
            # SQLite merges the types' parts of the index, and reads no more than the page.
            sql = " UNION ALL ".join([f"{sql} AND event_type = ?"] * len(types))
            values = [value for name in types for value in (after, end, name)]
        else:
            return [], max(after, end)
    page: list[StoredEnvelope] = []
    size = 0
    rows = db.execute(f"{sql} ORDER BY id LIMIT ?", [*values, limit])
    for row in rows:
        page.append(row)
        size += len(row[1])
        if size >= PAGE_BYTES or len(page) == limit:
            rows.close()
            return _passing(filter, page), row[0]
    return _passing(filter, page), max(after, end)


def _passing(filter: Filter, page: list[StoredEnvelope]) -> list[StoredEnvelope]:
    """Return the events of a page that meet criteria other than the type, too."""
    if filter.is_of_types:
        return page
    return [row for row in page if filter.matches(decode_envelope(row[1]))]


def _types(db: sqlite3.Connection, patterns: TypePatterns) -> list[str] | None:
    """Return the event types in the log that match, None if they are many."""
    types = sorted(patterns.exact)
    for prefix in patterns.prefixes:
        last, end = prefix, _after_prefix(prefix)
        while len(types) <= NARROW_TYPES:
            # A step of the index to the next type, however many events the one before has.
            sql = "SELECT min(event_type) FROM events WHERE event_type > ? AND event_type < ?"
            name: str | None = db.execute(sql, (last, end)).fetchone()[0]
            if name is None:
                break
            types.append(name)
            last = name
    return types if len(types) <= NARROW_TYPES else None


def _after_prefix(prefix: str) -> str:
    """Return the end of the range of texts that start with the prefix, in the order of bytes."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)


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
    db.executemany(
        "INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?)",
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
