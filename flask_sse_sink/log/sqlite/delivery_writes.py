"""What is done with the tables of pulled sinks, each step inside the caller's transaction.

Longer than other modules: every statement that changes these tables stands here.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from ..deliveries import (
    KEEP_BATCH_US,
    MAX_BATCHES,
    MAX_SINKS,
    Confirmed,
    Missed,
    Span,
    Taken,
    Taking,
    add_missed,
    batch_id,
    read_ids,
    write_ids,
)
from . import queries

#: The states of an event's row: leased, given back, confirmed above the cursor, a dead letter.
OUT, BACK, DONE, DEAD = 1, 2, 3, 4

# Every so many batches, old ones are removed.
_TIDY_EVERY = 1024

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


class BatchRow(NamedTuple):
    """A row of ``pulled_batches``, as far as it is read."""

    after: int | None
    through: int
    ids: str
    missed: int


class EventRow(NamedTuple):
    """A row of ``pulled_events``."""

    state: int
    batch: int
    attempts: int
    until: int


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


def has_used_up(db: sqlite3.Connection, number: int, now: int, max_attempts: int) -> bool:
    """Return whether a free event has been leased so many times."""
    sql = (
        f"SELECT 1 FROM pulled_events WHERE sink = ? AND state IN ({OUT}, {BACK})"
        " AND until <= ? AND attempts >= ? LIMIT 1"
    )
    return db.execute(sql, (number, now, max_attempts)).fetchone() is not None


def bury(db: sqlite3.Connection, number: int, now: int, max_attempts: int) -> None:
    """Make dead letters of the free events that have been leased so many times."""
    db.execute(
        f"UPDATE pulled_events SET state = {DEAD} WHERE sink = ?"
        f" AND state IN ({OUT}, {BACK}) AND until <= ? AND attempts >= ?",
        (number, now, max_attempts),
    )


def take(db: sqlite3.Connection, sink: str, taking: Taking) -> Taken:
    """Make a batch: see :meth:`~flask_sse_sink.log.deliveries.DeliveryStore.take`."""
    row = sink_row(db, sink)
    if row is None or row.generation != taking.generation:
        return Taken(0, [], {}, False)
    rows = event_rows(db, row.number, taking.ids)
    taken: list[int] = []
    end = None
    for id in taking.ids:
        if len(taken) == taking.limit:
            end = id - 1
            break
        if _is_free(rows.get(id), id, row.cursor, taking.now_us):
            taken.append(id)
    span = taking.span
    if span is not None and end is not None:
        span = span._replace(passed=min(span.passed, end), through=min(span.through, end))
    batch, batches = 0, row.batches
    if taken:
        batches += 1
        batch = batch_id(batches, row.number)
        _insert_batch(db, row.number, batch, taken, taking._replace(span=span))
        _tidy(db, row.number, batches, taking.now_us)
    attempts = {}
    if taking.until_us:
        attempts = {id: rows[id].attempts + 1 if id in rows else 1 for id in taken}
        db.executemany(
            f"INSERT OR REPLACE INTO pulled_events VALUES (?, ?, {OUT}, ?, ?, ?)",
            [(row.number, id, batch, attempts[id], taking.until_us) for id in taken],
        )
    _settle_expired(db, row, taking)
    cursor = row.cursor
    if span is not None:
        cursor = max(cursor, span.through if taking.until_us else span.passed)
    _set_place(db, row, cursor, batches)
    return Taken(batch, taken, attempts)


def _settle_expired(db: sqlite3.Connection, row: SinkRow, taking: Taking) -> None:
    rows = event_rows(db, row.number, taking.expired)
    free = [id for id, each in rows.items() if _is_free(each, id, row.cursor, taking.now_us)]
    _settle(db, row.number, free, 0, row.cursor)


def _settle(
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


def _is_free(row: EventRow | None, id: int, cursor: int, now: int) -> bool:
    if row is None:
        return id > cursor
    return row.state in (OUT, BACK) and row.until <= now


def _insert_batch(
    db: sqlite3.Connection, number: int, batch: int, ids: list[int], taking: Taking
) -> None:
    after, through = None, 0
    if taking.span is not None and not taking.until_us:
        after, through = taking.span.after, taking.span.through
    kept_until = (taking.until_us or taking.now_us) + KEEP_BATCH_US
    db.execute(
        "INSERT INTO pulled_batches VALUES (?, ?, ?, ?, ?, ?, ?)",
        (batch, number, after, through, write_ids(ids), taking.missed, kept_until),
    )


def _tidy(db: sqlite3.Connection, number: int, batches: int, now: int) -> None:
    """Remove batches that nobody has confirmed for long; only now and then, as it reads all."""
    if batches % _TIDY_EVERY == 0:
        db.execute(
            "DELETE FROM pulled_batches WHERE sink = ? AND (kept_until <= ? OR batch <= ?)",
            (number, now, batch_id(batches - MAX_BATCHES, number)),
        )


def _set_place(db: sqlite3.Connection, row: SinkRow, cursor: int, batches: int) -> None:
    if (cursor, batches) == (row.cursor, row.batches):
        return
    db.execute(
        "UPDATE pulled_sinks SET cursor = ?, batches = ? WHERE number = ?",
        (cursor, batches, row.number),
    )
    if cursor > row.cursor:
        db.execute(
            f"DELETE FROM pulled_events WHERE sink = ? AND state = {DONE} AND until <= ?",
            (row.number, cursor),
        )


def advance(db: sqlite3.Connection, sink: str, span: Span, generation: int) -> None:
    """Move the cursor, unless the place was set anew."""
    row = sink_row(db, sink)
    if row is not None and row.generation == generation:
        _set_place(db, row, max(row.cursor, span.passed), row.batches)


def batch_row(db: sqlite3.Connection, batch: int) -> BatchRow | None:
    """Return the row of a batch, None where it is settled."""
    sql = "SELECT after, through, ids, missed FROM pulled_batches WHERE batch = ?"
    row = db.execute(sql, (batch,)).fetchone()
    return None if row is None else BatchRow(*row)


def confirm(
    db: sqlite3.Connection, row: SinkRow, batch: int, part: frozenset[int] | None
) -> Confirmed:
    """Confirm a batch or a part of it; return how many events that settles."""
    kept = batch_row(db, batch)
    if kept is None:
        return Confirmed(0, False)
    ids = read_ids(kept.ids)
    left: list[int] = []
    if part is not None:
        left = [id for id in ids if id not in part]
        ids = [id for id in ids if id in part]
    rows = event_rows(db, row.number, ids)
    confirmed = [id for id in ids if _is_mine(rows.get(id), id, row.cursor, batch)]
    cursor = row.cursor
    if not left and kept.after is not None and cursor >= kept.after:
        cursor = max(cursor, kept.through)
    # Those at or below the cursor are settled by having no row.
    unsettled = [id for id in confirmed if id in rows or id > cursor]
    _settle(db, row.number, unsettled, batch, cursor)
    _set_place(db, row, cursor, row.batches)
    if left:
        db.execute("UPDATE pulled_batches SET ids = ? WHERE batch = ?", (write_ids(left), batch))
    else:
        db.execute("DELETE FROM pulled_batches WHERE batch = ?", (batch,))
        if kept.missed:
            _acknowledge(db, row, kept.missed)
    above = f"SELECT 1 FROM pulled_events WHERE sink = ? AND state = {DONE} LIMIT 1"
    is_above = db.execute(above, (row.number,)).fetchone() is not None
    return Confirmed(len(confirmed), is_above)


def _is_mine(row: EventRow | None, id: int, cursor: int, batch: int) -> bool:
    """Return whether a batch may confirm an event: nobody has, nor leased it since."""
    if row is None:
        return id > cursor
    return row.state != DONE and row.batch <= batch


def _leased(db: sqlite3.Connection, row: SinkRow, batch: int) -> list[int]:
    """Return the ids of the events that this batch was the last to lease."""
    kept = batch_row(db, batch)
    if kept is None:
        return []
    rows = event_rows(db, row.number, read_ids(kept.ids))
    return [id for id, each in rows.items() if each.state == OUT and each.batch == batch]


def extend(db: sqlite3.Connection, row: SinkRow, batch: int, until: int) -> int:
    """Let the leases of a batch end at this time; return how many events that are."""
    ids = _leased(db, row, batch)
    db.executemany(
        "UPDATE pulled_events SET until = ? WHERE sink = ? AND id = ?",
        [(until, row.number, id) for id in ids],
    )
    if ids:
        db.execute(
            "UPDATE pulled_batches SET kept_until = ? WHERE batch = ?",
            (until + KEEP_BATCH_US, batch),
        )
    return len(ids)


def release(
    db: sqlite3.Connection, row: SinkRow, batch: int, until: int, max_attempts: int
) -> int:
    """Give a batch's leased events back; return how many those are."""
    ids = _leased(db, row, batch)
    dead = f"CASE WHEN ? AND attempts >= ? THEN {DEAD} ELSE {BACK} END"
    db.executemany(
        f"UPDATE pulled_events SET state = {dead}, until = ? WHERE sink = ? AND id = ?",
        [(max_attempts, max_attempts, until, row.number, id) for id in ids],
    )
    return len(ids)


def retry(db: sqlite3.Connection, sink: str, ids: list[int] | None) -> int:
    """Free these dead letters, or all; return how many those are."""
    sql = (
        f"UPDATE pulled_events SET state = {BACK}, attempts = 0, until = 0"
        f" WHERE sink = ? AND state = {DEAD}"
    )
    values: list[int | str] = [number_of(db, sink)]
    if ids is not None:
        sql += " AND id IN (SELECT value FROM json_each(?))"
        values.append(msgspec.json.encode(ids).decode())
    return db.execute(sql, values).rowcount


def miss(db: sqlite3.Connection, sink: str, through: int, ids: Sequence[int] | None) -> int | None:
    """Note that events up to ``through`` are pruned; return how many were unconfirmed."""
    row = sink_row(db, sink)
    if row is None:
        return 0
    lost = [
        id
        for (id,) in db.execute(
            f"SELECT id FROM pulled_events WHERE sink = ? AND id <= ? AND state <> {DONE}",
            (row.number, through),
        )
    ]
    unknown = ids is None and row.cursor < through
    if ids:
        rows = event_rows(db, row.number, ids)
        lost += [id for id in ids if row.cursor < id <= through and id not in rows]
    db.execute("DELETE FROM pulled_events WHERE sink = ? AND id <= ?", (row.number, through))
    _set_place(db, row, max(row.cursor, through), row.batches)
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
    return row is not None and _acknowledge(db, row, missed)


def _acknowledge(db: sqlite3.Connection, row: SinkRow, missed: int) -> bool:
    left = [report for report in row.missed if report.id > missed]
    _set_missed(db, row.number, left)
    return len(left) < len(row.missed)


def _set_missed(db: sqlite3.Connection, number: int, missed: Sequence[Missed]) -> None:
    text = msgspec.json.encode(list(missed)).decode()
    db.execute("UPDATE pulled_sinks SET missed = ? WHERE number = ?", (text, number))


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
