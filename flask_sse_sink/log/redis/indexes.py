"""What Redis tells of the log's indexes: :class:`~flask_sse_sink.log.indexes.LogIndexes`."""

from __future__ import annotations

from typing import Any

from .keys import TYPES


class RedisIndexes:
    """The indexes of the log that ``db``, a client of the library, leads to."""

    def __init__(self, db: Any) -> None:
        self._db = db

    def types(self, prefix: str, most: int) -> list[str]:
        # A prefix ends in a dot, and "/" is the character after it.
        low, high = b"[" + prefix.encode(), b"(" + prefix[:-1].encode() + b"/"
        names: list[bytes] = self._db.zrangebylex(TYPES, low, high, start=0, num=most)
        return [name.decode() for name in names]

    def has_narrow(self, sources: frozenset[str]) -> bool:
        return True
