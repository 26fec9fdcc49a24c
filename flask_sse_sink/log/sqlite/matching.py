"""Finds the events that a filter lets through in the SQLite file; the caller lends a snapshot."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any

import msgspec

from ...event import decode_envelope
from ...filters import ENTITY_ID, EVENT_TYPE, SOURCE, Filter
from ...filters.patterns import TypePatterns
from ..indexes import IndexKey, merge_of
from ..protocol import PAGE_BYTES, StoredEnvelope

#: How many events one page of a replay reads through at most, where the filter isn't narrow.
WINDOW = 20_000
# Above every id.
FAR_ID = 2**62

_Found = tuple[list[StoredEnvelope], int]

_RANGE = "id > ? AND id <= ?"
# The indexes are named, as SQLite's own choice depends on what it knows of the file. The index
# with the sources has their events in the order of event ids; SQLite sorts what it reads of it.
_IDS_UNDER = {
    ENTITY_ID: f"SELECT id FROM events INDEXED BY events_by_entity"
    f" WHERE entity_id = ? AND {_RANGE}",
    EVENT_TYPE: f"SELECT id FROM events INDEXED BY events_by_type"
    f" WHERE event_type = ? AND {_RANGE}",
    SOURCE: f"SELECT id FROM events INDEXED BY sqlite_autoindex_events_1"
    f" WHERE source_id = (SELECT id FROM sources WHERE name = ?) AND {_RANGE}",
}
# The plus keeps SQLite from an index, with which it would sort every event that ever matched.
_EXACT_CONDITIONS = {
    ENTITY_ID: "+entity_id IN (SELECT value FROM json_each(?))",
    EVENT_TYPE: "+event_type IN (SELECT value FROM json_each(?))",
    SOURCE: "+source_id IN"
    " (SELECT id FROM sources WHERE name IN (SELECT value FROM json_each(?)))",
}
# SQLite takes 1,000 conditions that are joined by OR.
_MOST_CONDITIONS = 500


def matching(
    db: sqlite3.Connection, filter: Filter, after: int, end: int, limit: int
) -> tuple[list[StoredEnvelope], int]:
    """Return the events above ``after`` and up to ``end`` that the filter lets through.

    Lowest first, ``limit`` of them at most, and the id up to which there are no others. That is
    below ``end`` where the page is full, or where the filter isn't narrow.
    """
    if end <= after:
        return [], after
    if filter.everything:
        return _page(db, _RANGE, (after, end), limit, end)
    merge = merge_of(filter, _Indexes(db, end - after))
    if merge is None:
        return _read_through(db, filter, after, min(end, after + WINDOW), limit)
    ids = _ids(db, merge.keys, after, end, limit)
    if len(ids) == limit:
        end = ids[-1]
    page, through = _page(db, "id IN (SELECT value FROM json_each(?))", (_json(ids),), limit, end)
    return page if merge.is_exact else _passing(filter, page), through


def count(
    db: sqlite3.Connection, filter: Filter, after: int, limit: int, where: str
) -> int | None:
    """Return how many events above ``after`` the filter lets through, ``limit`` at most.

    ``where`` is a condition on their ``e.id``. None where the indexes don't give exactly those.
    """
    merge = merge_of(filter, _Indexes(db, FAR_ID))
    if merge is None or not merge.is_exact:
        return None
    total = 0
    for part in _disjoint(merge.keys):
        ids = " UNION ".join(_IDS_UNDER[key.criterion] for key in part)
        values = [value for key in part for value in (key.value, after, FAR_ID)]
        sql = f"SELECT count(*) FROM (SELECT 1 FROM ({ids}) AS e WHERE {where} LIMIT ?)"
        total += db.execute(sql, (*values, limit - total)).fetchone()[0]
        if total >= limit:
            break
    return total


def _disjoint(keys: Sequence[IndexKey]) -> list[Sequence[IndexKey]]:
    """Return the keys in parts that have no event in common."""
    if len({key.criterion for key in keys}) == 1:
        # An event has one type, one entity and one source.
        return [[key] for key in keys]
    return [keys] if keys else []


class _Indexes:
    """What the file tells of its indexes, for a replay of so many events."""

    def __init__(self, db: sqlite3.Connection, events: int) -> None:
        self._db = db
        self._events = events

    def types(self, prefix: str, most: int) -> list[str]:
        types: list[str] = []
        last, end = prefix, _after_prefix(prefix)
        while len(types) < most:
            # A step of the index to the next type, however many events the one before has.
            sql = "SELECT min(event_type) FROM events WHERE event_type > ? AND event_type < ?"
            name: str | None = self._db.execute(sql, (last, end)).fetchone()[0]
            if name is None:
                break
            types.append(name)
            last = name
        return types

    def has_narrow(self, sources: frozenset[str]) -> bool:
        # Each page reads all that the index has of a source: that has to be less than it would
        # read through.
        left = min(WINDOW, self._events)
        sql = (
            "SELECT count(*) FROM (SELECT 1 FROM events"
            " WHERE source_id = (SELECT id FROM sources WHERE name = ?) LIMIT ?)"
        )
        for name in sources:
            left -= self._db.execute(sql, (name, left + 1)).fetchone()[0]
            if left < 0:
                return False
        return True


def _ids(
    db: sqlite3.Connection, keys: Sequence[IndexKey], after: int, end: int, limit: int
) -> list[int]:
    """Return the ids of up to ``limit`` events under any of the keys, each once, in order."""
    if not keys:
        return []
    # SQLite merges the keys' parts of the indexes, and reads no more than the page. An event may
    # stand under several keys, unless all of them are of one index.
    is_one_index = len({key.criterion for key in keys}) == 1
    sql = (" UNION ALL " if is_one_index else " UNION ").join(
        _IDS_UNDER[key.criterion] for key in keys
    )
    values = [value for key in keys for value in (key.value, after, end)]
    return [id for (id,) in db.execute(f"{sql} ORDER BY id LIMIT ?", [*values, limit])]


def _read_through(
    db: sqlite3.Connection, filter: Filter, after: int, end: int, limit: int
) -> _Found:
    """Return a page of the events that pass, out of all in the range."""
    condition = _Condition(filter)
    where = f"{_RANGE} AND ({condition.sql})"
    page, through = _page(db, where, (after, end, *condition.values), limit, end)
    return page if condition.is_exact else _passing(filter, page), through


def _page(
    db: sqlite3.Connection, where: str, values: tuple[int | str, ...], limit: int, end: int
) -> _Found:
    """Return the first events that meet a condition, and the id up to which there are no others.

    That is ``end`` unless the page is full.
    """
    sql = f"SELECT id, CAST(envelope AS BLOB) FROM events WHERE {where} ORDER BY id LIMIT ?"
    page: list[StoredEnvelope] = []
    size = 0
    rows = db.execute(sql, (*values, limit))
    for row in rows:
        page.append(row)
        size += len(row[1])
        if size >= PAGE_BYTES or len(page) == limit:
            rows.close()
            return page, row[0]
    return page, end


def _passing(filter: Filter, page: list[StoredEnvelope]) -> list[StoredEnvelope]:
    return [row for row in page if filter.matches(decode_envelope(row[1]))]


class _Condition:
    """A filter as a condition in SQL with its values; ``is_exact`` if it needs no other check."""

    def __init__(self, filter: Filter) -> None:
        self.values: list[str] = []
        self.is_exact = True
        selections = [
            [self._term(name, criterion) for name, criterion in selection.criteria]
            for selection in filter.selections
        ]
        self.sql = " OR ".join(" AND ".join(terms) or "TRUE" for terms in selections)
        if len(self.values) > _MOST_CONDITIONS:
            self.sql, self.values, self.is_exact = "TRUE", [], False

    def _term(self, name: str, criterion: Any) -> str:
        if name not in _EXACT_CONDITIONS:
            # A criterion that isn't known here.
            self.is_exact = False
            return "TRUE"
        if not isinstance(criterion, TypePatterns):
            self.values.append(_json(criterion.values()))
            return _EXACT_CONDITIONS[name]
        self.values.append(_json(sorted(criterion.exact)))
        terms = [_EXACT_CONDITIONS[name]]
        for prefix in criterion.prefixes:
            self.values += [prefix, _after_prefix(prefix)]
            terms.append("(+event_type >= ? AND +event_type < ?)")
        return f"({' OR '.join(terms)})"


def _after_prefix(prefix: str) -> str:
    """Return the end of the range of texts that start with the prefix, in the order of bytes."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)


def _json(values: list[Any]) -> str:
    return msgspec.json.encode(values).decode()
