"""RevocationStore in the SQLite file, beside the events."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable

from ...access.revocations import Revocation
from ..protocol import now_us
from . import queries
from .connections import Connections

_COLUMNS = "position, subject, issuer, revoked_at, lasting, lifted"


class SQLiteRevocations:
    """The :class:`~flask_sse_sink.access.revocations.RevocationStore` of one file.

    ``on_stored`` is called after each change.
    """

    def __init__(self, connections: Connections, on_stored: Callable[[], None]) -> None:
        self._connections = connections
        self._on_stored = on_stored

    def revoke(self, subject: str, issuer: str | None = None, lasting: bool = False) -> Revocation:
        with self._connections.writer.lock, self._connections.transaction() as db:
            change = Revocation(0, subject, issuer, now_us(), lasting)
            revocation = _replace(db, change)
        self._on_stored()
        return revocation

    def unrevoke(self, subject: str, issuer: str | None = None) -> bool:
        with self._connections.writer.lock, self._connections.transaction() as db:
            sql = "SELECT 1 FROM revocations WHERE subject = ? AND issuer IS ? AND NOT lifted"
            if db.execute(sql, (subject, issuer)).fetchone() is None:
                return False
            _replace(db, Revocation(0, subject, issuer, now_us(), lifted=True))
        self._on_stored()
        return True

    def version(self) -> tuple[str, int]:
        with self._connections.reader.lend() as db:
            sql = "SELECT seq FROM sqlite_sequence WHERE name = 'revocations'"
            row = db.execute(sql).fetchone()
            return queries.identity(db), row[0] if row else 0

    def changes(self, after: int, limit: int) -> list[Revocation]:
        with self._connections.reader.lend() as db:
            sql = (
                f"SELECT {_COLUMNS} FROM revocations WHERE position > ? ORDER BY position LIMIT ?"
            )
            rows = db.execute(sql, (after, limit)).fetchall()
        return [Revocation._make((*row[:4], bool(row[4]), bool(row[5]))) for row in rows]

    def restore(self, revocations: Iterable[Revocation]) -> None:
        with self._connections.writer.lock, self._connections.transaction() as db:
            for each in revocations:
                _replace(db, each)
        self._on_stored()

    def prune(self, seconds: float) -> int:
        before_us = now_us() - int(seconds * 1_000_000)
        with self._connections.writer.lock, self._connections.transaction() as db:
            sql = "DELETE FROM revocations WHERE revoked_at < ? AND NOT lasting"
            return db.execute(sql, (before_us,)).rowcount


def _replace(db: sqlite3.Connection, change: Revocation) -> Revocation:
    """Put a change in the place of the one before for the same subject and issuer.

    Returns it with its position.
    """
    pair = change.subject, change.issuer
    db.execute("DELETE FROM revocations WHERE subject = ? AND issuer IS ?", pair)
    sql = f"INSERT INTO revocations ({_COLUMNS}) VALUES (NULL, ?, ?, ?, ?, ?)"
    position = db.execute(sql, change[1:]).lastrowid
    assert position is not None, "the row has an id"
    return change._replace(position=position)
