"""The table ``pulled_events``: which events of a pulled sink aren't simply fresh or settled.

Every function works inside the caller's transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

#: The states of an event's row: leased, given back, confirmed above the cursor, a dead letter.
OUT, BACK, DONE, DEAD = 1, 2, 3, 4

# Free events are counted up to here.
_MAX_COUNT = 10_001
_FREE = f"sink = ? AND state IN ({OUT}, {BACK}) AND until <= ?"


class EventRow(NamedTuple):
    """A row of ``pulled_events``."""

    state: int
    batch: int
    attempts: int
    until: int


class Counts(NamedTuple):
    """How many events are leased, wait to be leased again, are dead letters, are confirmed."""

    out: int
    waiting: int
    dead: int
    settled: int


def has_rows(db: sqlite3.Connection, number: int, after: int = 0) -> bool:
    """Return whether an event above ``after`` has a row."""
    sql = "SELECT 1 FROM pulled_events WHERE sink = ? AND id > ? LIMIT 1"
    return db.execute(sql, (number, after)).fetchone() is not None


def event_rows(db: sqlite3.Connection, number: int, ids: Sequence[int]) -> dict[int, EventRow]:
    """Return the rows of those of the sorted ids that have one."""
    if not ids:
        return {}
    sql = "SELECT id, state, batch, attempts, until FROM pulled_events WHERE sink = ? AND id "
    if ids[-1] - ids[0] < 4 * len(ids):
        rows = db.execute(f"{sql} BETWEEN ? AND ?", (number, ids[0], ids[-1])).fetchall()
        wanted = set(ids) if rows else set()
        return {row[0]: EventRow(*row[1:]) for row in rows if row[0] in wanted}
    values = msgspec.json.encode(ids).decode()
    rows = db.execute(f"{sql} IN (SELECT value FROM json_each(?))", (number, values)).fetchall()
    return {row[0]: EventRow(*row[1:]) for row in rows}


def is_free(row: EventRow | None, id: int, cursor: int, now: int) -> bool:
    """Return whether an event may be taken now; ``row`` is its row, None if it has none."""
    if row is None:
        return id > cursor
    return row.state in (OUT, BACK) and row.until <= now


def is_mine(row: EventRow | None, id: int, cursor: int, batch: int) -> bool:
    """Return whether a batch may confirm an event: nobody has, nor leased it since."""
    if row is None:
        return id > cursor
    return row.state != DONE and row.batch <= batch


def lease(
    db: sqlite3.Connection, number: int, batch: int, attempts: Mapping[int, int], until: int
) -> None:
    """Lease events to a batch; ``attempts`` says how often each is out now."""
    db.executemany(
        f"INSERT OR REPLACE INTO pulled_events VALUES (?, ?, {OUT}, ?, ?, ?)",
        [(number, id, batch, count, until) for id, count in attempts.items()],
    )


def extend(db: sqlite3.Connection, number: int, ids: Sequence[int], until: int) -> None:
    """Let the leases of these events end at this time."""
    db.executemany(
        "UPDATE pulled_events SET until = ? WHERE sink = ? AND id = ?",
        [(until, number, id) for id in ids],
    )


def give_back(
    db: sqlite3.Connection, number: int, ids: Sequence[int], until: int, max_attempts: int
) -> None:
    """Free these events at this time; those that were leased too often become dead letters."""
    dead = f"CASE WHEN ? AND attempts >= ? THEN {DEAD} ELSE {BACK} END"
    db.executemany(
        f"UPDATE pulled_events SET state = {dead}, until = ? WHERE sink = ? AND id = ?",
        [(max_attempts, max_attempts, until, number, id) for id in ids],
    )


def settle(
    db: sqlite3.Connection, number: int, ids: Sequence[int], batch: int, cursor: int
) -> None:
    """Settle events: those up to the cursor have no row, the others one that says so."""
    db.executemany(
        "DELETE FROM pulled_events WHERE sink = ? AND id = ?",
        [(number, id) for id in ids if id <= cursor],
    )
    db.executemany(
        f"INSERT OR REPLACE INTO pulled_events VALUES (?, ?, {DONE}, ?, 0, ?)",
        [(number, id, batch, id) for id in ids if id > cursor],
    )


def has_settled(db: sqlite3.Connection, number: int) -> bool:
    """Return whether an event above the cursor is confirmed."""
    sql = f"SELECT 1 FROM pulled_events WHERE sink = ? AND state = {DONE} LIMIT 1"
    return db.execute(sql, (number,)).fetchone() is not None


def remove_settled(db: sqlite3.Connection, number: int, cursor: int) -> None:
    """Remove the rows of confirmed events that the cursor has passed."""
    db.execute(
        f"DELETE FROM pulled_events WHERE sink = ? AND state = {DONE} AND until <= ?",
        (number, cursor),
    )


def remove_through(db: sqlite3.Connection, number: int, through: int) -> list[int]:
    """Remove the rows up to an id; return the ids of those that weren't confirmed."""
    sql = f"SELECT id FROM pulled_events WHERE sink = ? AND id <= ? AND state <> {DONE}"
    unconfirmed = [id for (id,) in db.execute(sql, (number, through))]
    db.execute("DELETE FROM pulled_events WHERE sink = ? AND id <= ?", (number, through))
    return unconfirmed


def has_used_up(db: sqlite3.Connection, number: int, now: int, max_attempts: int) -> bool:
    """Return whether a free event has been leased so many times."""
    sql = f"SELECT 1 FROM pulled_events WHERE {_FREE} AND attempts >= ? LIMIT 1"
    return db.execute(sql, (number, now, max_attempts)).fetchone() is not None


def bury(db: sqlite3.Connection, number: int, now: int, max_attempts: int) -> None:
    """Make dead letters of the free events that have been leased so many times."""
    db.execute(
        f"UPDATE pulled_events SET state = {DEAD} WHERE {_FREE} AND attempts >= ?",
        (number, now, max_attempts),
    )


def retry(db: sqlite3.Connection, number: int, ids: Sequence[int] | None) -> int:
    """Free these dead letters, or all; return how many those are."""
    sql = (
        f"UPDATE pulled_events SET state = {BACK}, attempts = 0, until = 0"
        f" WHERE sink = ? AND state = {DEAD}"
    )
    values: list[int | str] = [number]
    if ids is not None:
        sql += " AND id IN (SELECT value FROM json_each(?))"
        values.append(msgspec.json.encode(ids).decode())
    return db.execute(sql, values).rowcount


def count_free(db: sqlite3.Connection, number: int, now: int) -> int:
    """Return how many events with a row are free, counted up to 10,001."""
    count: int = db.execute(
        f"SELECT count(*) FROM (SELECT 1 FROM pulled_events WHERE {_FREE} LIMIT {_MAX_COUNT})",
        (number, now),
    ).fetchone()[0]
    return count


def next_free(db: sqlite3.Connection, number: int, now: int) -> int:
    """Return when the next event becomes free whose lease or delay runs, 0 if there is none."""
    sql = "SELECT min(until) FROM pulled_events WHERE sink = ? AND state = ? AND until > ?"
    times = [db.execute(sql, (number, state, now)).fetchone()[0] for state in (OUT, BACK)]
    return min((time for time in times if time is not None), default=0)


def free_ids(db: sqlite3.Connection, number: int, after: int, limit: int, now: int) -> list[int]:
    """Return ids above ``after`` of events with a row that are free, in order."""
    rows = db.execute(
        "SELECT id FROM pulled_events WHERE sink = ? AND id > ?"
        f" AND +state IN ({OUT}, {BACK}) AND until <= ? ORDER BY id LIMIT ?",
        (number, after, now, limit),
    )
    return [id for (id,) in rows]


def dead_letters(
    db: sqlite3.Connection, number: int, after: int, limit: int
) -> list[tuple[int, int]]:
    """Return id and attempts of dead letters above ``after``, in order."""
    return db.execute(
        "SELECT id, attempts FROM pulled_events"
        f" WHERE sink = ? AND state = {DEAD} AND id > ? ORDER BY id LIMIT ?",
        (number, after, limit),
    ).fetchall()


def oldest_unconfirmed(db: sqlite3.Connection, number: int) -> int:
    """Return the id of the oldest event that is leased or was given back, 0 if there is none."""
    sql = (
        f"SELECT id FROM pulled_events WHERE sink = ? AND state IN ({OUT}, {BACK})"
        " ORDER BY id LIMIT 1"
    )
    row: tuple[int] | None = db.execute(sql, (number,)).fetchone()
    return row[0] if row else 0


def count(db: sqlite3.Connection, number: int, condition: str, *values: int) -> int:
    """Return how many rows of a sink meet a condition in SQL."""
    sql = f"SELECT count(*) FROM pulled_events WHERE sink = ? AND {condition}"
    rows: int = db.execute(sql, (number, *values)).fetchone()[0]
    return rows


def counts(db: sqlite3.Connection, number: int, now: int) -> Counts:
    """Return how many events are in which state."""
    return Counts(
        out=count(db, number, f"state = {OUT} AND until > ?", now),
        waiting=count(db, number, f"(state = {BACK} OR (state = {OUT} AND until <= ?))", now),
        dead=count(db, number, f"state = {DEAD}"),
        settled=count(db, number, f"state = {DONE}"),
    )
