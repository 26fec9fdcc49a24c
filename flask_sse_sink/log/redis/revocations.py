"""RevocationStore in Redis, beside the events."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from ...access.revocations import Revocation
from ..protocol import now_us
from .client import Client
from .keys import ABOUT, REVOCATION_ORDER, REVOCATIONS

#: Runs a script that writes: its connection, the script, its keys and its arguments.
Write = Callable[[Any, Any, Sequence[str], Sequence[Any]], Any]

_KEYS = (ABOUT, REVOCATIONS, REVOCATION_ORDER)
_PAGE = 1000


class RedisRevocations:
    """The :class:`~flask_sse_sink.access.revocations.RevocationStore` of one Redis.

    ``write`` returns a script's answer once what it wrote is as safe as the configuration wants.
    """

    def __init__(self, client: Client, write: Write) -> None:
        self._client = client
        self._write = write

    def revoke(self, subject: str, issuer: str | None = None, lasting: bool = False) -> Revocation:
        with self._client.lend() as (db, scripts):
            values = [_field(subject, issuer), int(lasting), 0, ""]
            position, at = self._write(db, scripts.revoke, _KEYS, values)
        return Revocation(int(position), subject, issuer, int(at), lasting)

    def unrevoke(self, subject: str, issuer: str | None = None) -> bool:
        with self._client.lend() as (db, scripts):
            values = [_field(subject, issuer), 0, 1, ""]
            position, _ = self._write(db, scripts.revoke, _KEYS, values)
        return bool(int(position))

    def version(self) -> tuple[str, int]:
        with self._client.lend() as (db, _):
            identity, position = db.hmget(ABOUT, "identity", "revocations")
        return (identity or b"").decode(), int(position or 0)

    def changes(self, after: int, limit: int) -> list[Revocation]:
        with self._client.lend() as (db, _):
            fields = db.zrangebyscore(
                REVOCATION_ORDER, f"({after}", "+inf", start=0, num=limit, withscores=True
            )
            values = db.hmget(REVOCATIONS, [field for field, _ in fields]) if fields else []
        changes = []
        for (field, position), value in zip(fields, values, strict=True):
            # One that was changed or forgotten between the two reads comes again, or not at all.
            if value is not None:
                subject, issuer = msgspec.json.decode(field)
                at, lasting, lifted = (int(part) for part in value.split(b":"))
                change = Revocation(int(position), subject, issuer, at, bool(lasting))
                changes.append(change._replace(lifted=bool(lifted)))
        return changes

    def restore(self, revocations: Iterable[Revocation]) -> None:
        with self._client.lend() as (db, scripts):
            for each in revocations:
                field = _field(each.subject, each.issuer)
                values = [field, int(each.lasting), int(each.lifted), each.revoked_at_us]
                self._write(db, scripts.revoke, _KEYS, values)

    def prune(self, seconds: float) -> int:
        before_us = now_us() - int(seconds * 1_000_000)
        after = count = 0
        while page := self.changes(after, _PAGE):
            after = page[-1].position
            due = [each for each in page if each.revoked_at_us < before_us and not each.lasting]
            if due:
                values: list[str | int] = []
                for each in due:
                    values += (_field(each.subject, each.issuer), each.position)
                with self._client.lend() as (_, scripts):
                    count += scripts.forget_revocations(keys=_KEYS[1:], args=values)
            elif all(each.revoked_at_us >= before_us for each in page):
                # Positions rise with time.
                break
        return count


def _field(subject: str, issuer: str | None) -> str:
    return msgspec.json.encode((subject, issuer)).decode()
