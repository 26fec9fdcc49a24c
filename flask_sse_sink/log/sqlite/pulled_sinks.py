"""The table ``pulled_sinks``: the place of each pulled sink, and what was pruned before it.

Every function works inside the caller's transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from ..deliveries import MAX_SINKS, Missed, Span, add_missed
from . import pulled_events, queries

_missed = msgspec.json.Decoder(tuple[Missed, ...])


class SinkRow(NamedTuple):
    """A row of ``pulled_sinks``."""

    number: int
    name: str
    cursor: int
    generation: int
    batches: int
    missed: tuple[Missed, ...]
    last_missed: int


_COLUMNS = "number, name, cursor, generation, batches, missed, last_missed"


def _sink_of(row: tuple[int, str, int, int, int, str, int]) -> SinkRow:
    number, name, cursor, generation, batches, missed, last_missed = row
    reports = _missed.decode(missed) if missed != "[]" else ()
    return SinkRow(number, name, cursor, generation, batches, reports, last_missed)


def sink_row(db: sqlite3.Connection, sink: str) -> SinkRow | None:
    """Return a sink's row, None where it has no place."""
    sql = f"SELECT {_COLUMNS} FROM pulled_sinks WHERE name = ?"
    row = db.execute(sql, (sink,)).fetchone()
    return None if row is None else _sink_of(row)


def all_sinks(db: sqlite3.Connection) -> list[SinkRow]:
    """Return the rows of all sinks that have a place, by name."""
    sql = f"SELECT {_COLUMNS} FROM pulled_sinks WHERE name IS NOT NULL ORDER BY name"
    return [_sink_of(row) for row in db.execute(sql)]


def number_of(db: sqlite3.Connection, sink: str) -> int:
    """Return a sink's number, 0 where it has no place."""
    row = db.execute("SELECT number FROM pulled_sinks WHERE name = ?", (sink,)).fetchone()
    return row[0] if row else 0


def open_sink(db: sqlite3.Connection, sink: str, now: int, *, to_head: bool) -> bool:
    """Give a sink a place unless it has one; return false where there are too many."""
    db.execute("UPDATE pulled_sinks SET used_at = ? WHERE name = ?", (now, sink))
    if number_of(db, sink):
        return True
    cursor = queries.head(db) if to_head else queries.oldest(db) - 1
    return _add_sink(db, sink, cursor, now)


def _add_sink(db: sqlite3.Connection, sink: str, cursor: int, now: int) -> bool:
    free = db.execute("SELECT min(number) FROM pulled_sinks WHERE name IS NULL").fetchone()[0]
    if free is not None:
        # The number of batches goes on: the ids of the former sink's batches don't come again.
        db.execute(
            "UPDATE pulled_sinks SET name = ?, cursor = ?, generation = generation + 1,"
            " missed = '[]', used_at = ? WHERE number = ?",
            (sink, cursor, now, free),
        )
        return True
    count = db.execute("SELECT count(*) FROM pulled_sinks").fetchone()[0]
    if count >= MAX_SINKS - 1:
        return False
    db.execute(
        "INSERT INTO pulled_sinks VALUES (?, ?, ?, 1, 0, '[]', 0, ?)",
        (count + 1, sink, cursor, now),
    )
    return True


def set_place(db: sqlite3.Connection, row: SinkRow, cursor: int, batches: int) -> None:
    """Set the cursor and the number of batches."""
    if (cursor, batches) == (row.cursor, row.batches):
        return
    db.execute(
        "UPDATE pulled_sinks SET cursor = ?, batches = ? WHERE number = ?",
        (cursor, batches, row.number),
    )
    if cursor > row.cursor:
        pulled_events.remove_settled(db, row.number, cursor)


def advance(db: sqlite3.Connection, sink: str, span: Span, generation: int) -> None:
    """Move the cursor, unless the place was set anew."""
    row = sink_row(db, sink)
    if row is not None and row.generation == generation:
        set_place(db, row, max(row.cursor, span.passed), row.batches)


def reset(db: sqlite3.Connection, sink: str, cursor: int, now: int) -> None:
    """Set a sink's place anew."""
    number = number_of(db, sink)
    if not number:
        _add_sink(db, sink, cursor, now)
        return
    db.execute(
        "UPDATE pulled_sinks SET cursor = ?, generation = generation + 1, missed = '[]'"
        " WHERE number = ?",
        (cursor, number),
    )
    _remove_rows(db, number)


def _remove_rows(db: sqlite3.Connection, number: int) -> None:
    db.execute("DELETE FROM pulled_events WHERE sink = ?", (number,))
    db.execute("DELETE FROM pulled_batches WHERE sink = ?", (number,))


def unused(db: sqlite3.Connection, before: int) -> list[tuple[int, str]]:
    """Return numbers and names of sinks that weren't in use since a time."""
    sql = "SELECT number, name FROM pulled_sinks WHERE name IS NOT NULL AND used_at < ?"
    return db.execute(sql, (before,)).fetchall()


def forget(db: sqlite3.Connection, before: int) -> list[str]:
    """Remove the places of sinks that weren't in use since a time; return their names."""
    sinks = unused(db, before)
    for number, _ in sinks:
        db.execute("UPDATE pulled_sinks SET name = NULL WHERE number = ?", (number,))
        _remove_rows(db, number)
    return [name for _, name in sinks]


def miss(db: sqlite3.Connection, sink: str, through: int, ids: Sequence[int] | None) -> int | None:
    """Note that events up to ``through`` are pruned; return how many were unconfirmed."""
    row = sink_row(db, sink)
    if row is None:
        return 0
    unknown = ids is None and row.cursor < through
    rows = pulled_events.event_rows(db, row.number, ids or ())
    lost = pulled_events.remove_through(db, row.number, through)
    lost += [id for id in ids or () if row.cursor < id <= through and id not in rows]
    set_place(db, row, max(row.cursor, through), row.batches)
    count = None if unknown else len(lost)
    if count != 0:
        first_id = min(lost, default=row.cursor + 1)
        if unknown:
            first_id = min(first_id, row.cursor + 1)
        last_id = through if unknown else max(lost)
        report = Missed(row.last_missed + 1, count, first_id, last_id)
        _set_missed(db, row.number, add_missed(row.missed, report))
        db.execute(
            "UPDATE pulled_sinks SET last_missed = ? WHERE number = ?", (report.id, row.number)
        )
    return count


def acknowledge(db: sqlite3.Connection, sink: str, missed: int) -> bool:
    """Remove reports up to this id; return whether there was one."""
    row = sink_row(db, sink)
    return row is not None and acknowledge_reports(db, row, missed)


def acknowledge_reports(db: sqlite3.Connection, row: SinkRow, missed: int) -> bool:
    """Remove reports of the sink with this row; see :func:`acknowledge`."""
    left = [report for report in row.missed if report.id > missed]
    _set_missed(db, row.number, left)
    return len(left) < len(row.missed)


def _set_missed(db: sqlite3.Connection, number: int, missed: Sequence[Missed]) -> None:
    text = msgspec.json.encode(list(missed)).decode()
    db.execute("UPDATE pulled_sinks SET missed = ? WHERE number = ?", (text, number))
