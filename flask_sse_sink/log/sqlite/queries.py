"""The log's questions to its SQLite file, each to a connection that the caller lends."""

from __future__ import annotations

import sqlite3

import msgspec

from ...filters import Filter
from .. import NARROW_TYPES, PAGE_BYTES

# How many events a page goes through, where a filter is a wide one.
WINDOW = 20_000


def head(db: sqlite3.Connection) -> int:
    """Return the highest id ever given, 0 where none was."""
    row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()
    return row[0] if row else 0


def identity(db: sqlite3.Connection) -> str:
    """Return what tells the log from one that was made anew."""
    found: str = db.execute("SELECT identity FROM about").fetchone()[0]
    return found


def oldest(db: sqlite3.Connection) -> int:
    """Return the lowest id that is kept, the next one to come where there is none."""
    found: int | None = db.execute("SELECT min(id) FROM events").fetchone()[0]
    return head(db) + 1 if found is None else found


def matching(
    db: sqlite3.Connection, filter: Filter, after: int, end: int, limit: int
) -> tuple[list[tuple[int, bytes]], int]:
    """Return ids and envelopes above ``after`` that match, lowest first, up to ``end`` at most.

    And the id up to which they are all: below ``end`` where the page is full.
    """
    sql = "SELECT id, CAST(envelope AS BLOB) FROM events WHERE id > ? AND id <= ?"
    values: list[int | str] = [after, end]
    if not filter.everything:
        types = _types(db, filter)
        if types is None:
            end = min(end, after + WINDOW)
            # The plus keeps SQLite from sorting all that ever matched.
            either = ["+event_type IN (SELECT value FROM json_each(?))"]
            either += ["(+event_type >= ? AND +event_type < ?)"] * len(filter.prefixes)
            sql += f" AND ({' OR '.join(either)})"
            values = [after, end, msgspec.json.encode(sorted(filter.exact)).decode()]
            for prefix in filter.prefixes:
                values += [prefix, _after_prefix(prefix)]
        elif types:
            # SQLite merges the types' parts of the index, and reads no more than the page.
            sql = " UNION ALL ".join([f"{sql} AND event_type = ?"] * len(types))
            values = [value for name in types for value in (after, end, name)]
        else:
            return [], max(after, end)
    found: list[tuple[int, bytes]] = []
    size = 0
    rows = db.execute(f"{sql} ORDER BY id LIMIT ?", [*values, limit])
    for row in rows:
        found.append(row)
        size += len(row[1])
        if size >= PAGE_BYTES or len(found) == limit:
            rows.close()
            return found, row[0]
    return found, max(after, end)


def _types(db: sqlite3.Connection, filter: Filter) -> list[str] | None:
    """Return the event types in the log that the filter lets through, None where they are many."""
    found = sorted(filter.exact)
    for prefix in filter.prefixes:
        last, end = prefix, _after_prefix(prefix)
        while len(found) <= NARROW_TYPES:
            # From one type to the next by the index, whatever the number of their events.
            sql = "SELECT min(event_type) FROM events WHERE event_type > ? AND event_type < ?"
            name: str | None = db.execute(sql, (last, end)).fetchone()[0]
            if name is None:
                break
            found.append(name)
            last = name
    return found if len(found) <= NARROW_TYPES else None


def _after_prefix(prefix: str) -> str:
    """Return what comes after all that starts with the prefix, in the order of bytes."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)


def known_ids(
    db: sqlite3.Connection, keys: list[tuple[int, str | None]]
) -> dict[tuple[int, str | None], int]:
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
