"""The table ``pulled_batches``, and what consumers do with a batch: take, confirm, give back.

Every function works inside the caller's transaction.
"""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

from ..deliveries import (
    KEEP_BATCH_US,
    MAX_BATCHES,
    Confirmed,
    Taken,
    Taking,
    batch_id,
    read_ids,
    write_ids,
)
from . import pulled_events
from .pulled_events import OUT, event_rows, is_free, is_mine
from .pulled_sinks import SinkRow, acknowledge_reports, set_place, sink_row

# Every so many batches, old ones are removed.
_TIDY_EVERY = 1024


class BatchRow(NamedTuple):
    """A row of ``pulled_batches``, as far as it is read."""

    after: int | None
    through: int
    ids: str
    missed: int


def batch_row(db: sqlite3.Connection, batch: int) -> BatchRow | None:
    """Return the row of a batch, None where it is settled."""
    sql = "SELECT after, through, ids, missed FROM pulled_batches WHERE batch = ?"
    row = db.execute(sql, (batch,)).fetchone()
    return None if row is None else BatchRow(*row)


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
        if is_free(rows.get(id), id, row.cursor, taking.now_us):
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
        pulled_events.lease(db, row.number, batch, attempts, taking.until_us)
    _settle_expired(db, row, taking)
    cursor = row.cursor
    if span is not None:
        cursor = max(cursor, span.through if taking.until_us else span.passed)
    set_place(db, row, cursor, batches)
    return Taken(batch, taken, attempts)


def _settle_expired(db: sqlite3.Connection, row: SinkRow, taking: Taking) -> None:
    rows = event_rows(db, row.number, taking.expired)
    free = [id for id, each in rows.items() if is_free(each, id, row.cursor, taking.now_us)]
    pulled_events.settle(db, row.number, free, 0, row.cursor)


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
    confirmed = [id for id in ids if is_mine(rows.get(id), id, row.cursor, batch)]
    cursor = row.cursor
    if not left and kept.after is not None and cursor >= kept.after:
        cursor = max(cursor, kept.through)
    # Those at or below the cursor are settled by having no row.
    unsettled = [id for id in confirmed if id in rows or id > cursor]
    pulled_events.settle(db, row.number, unsettled, batch, cursor)
    set_place(db, row, cursor, row.batches)
    if left:
        db.execute("UPDATE pulled_batches SET ids = ? WHERE batch = ?", (write_ids(left), batch))
    else:
        db.execute("DELETE FROM pulled_batches WHERE batch = ?", (batch,))
        if kept.missed:
            acknowledge_reports(db, row, kept.missed)
    return Confirmed(len(confirmed), pulled_events.has_settled(db, row.number))


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
    pulled_events.extend(db, row.number, ids, until)
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
    pulled_events.give_back(db, row.number, ids, until, max_attempts)
    return len(ids)
