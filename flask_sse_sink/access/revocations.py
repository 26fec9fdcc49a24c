"""RevocationStore: whose tokens and tickets are refused although they haven't ended."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple, Protocol

from .principal import Identity, Kind


class Revocation(NamedTuple):
    """One change: a subject was revoked, or that was taken back.

    ``position`` rises strictly with every change of a log. ``issuer`` is None for the subject of
    whatever issuer. ``revoked_at_us`` is in microseconds since the epoch by the log's clock.
    ``lasting`` revocations hold until they are taken back, and ``lifted`` ones were taken back.
    """

    position: int
    subject: str
    issuer: str | None
    revoked_at_us: int
    lasting: bool = False
    lifted: bool = False


class RevocationStore(Protocol):
    """What a log keeps of revocations; every process that shares the log sees the same.

    Only the newest change for each pair of subject and issuer is kept. Every method may raise
    :exc:`~flask_sse_sink.exceptions.LogUnavailable`. Any thread may call any method.
    """

    def revoke(self, subject: str, issuer: str | None = None, lasting: bool = False) -> Revocation:
        """Revoke what the subject was issued until now, and return once that is stored."""

    def unrevoke(self, subject: str, issuer: str | None = None) -> bool:
        """Take a revocation back; return false where there was none for this pair."""

    def version(self) -> tuple[str, int]:
        """Return the log's identity and the position of the newest change, 0 if there was none."""

    def changes(self, after: int, limit: int) -> list[Revocation]:
        """Return up to ``limit`` changes with positions above ``after``, lowest first."""

    def restore(self, revocations: Iterable[Revocation]) -> None:
        """Store revocations of another log, with their times but with positions of this one."""

    def prune(self, seconds: float) -> int:
        """Forget changes that are older, but for lasting revocations; return how many."""


class RevokedSubjects:
    """The revocations in force, as a log's changes say."""

    def __init__(self) -> None:
        self._revocations: dict[tuple[str, str | None], Revocation] = {}

    def apply(self, changes: Iterable[Revocation]) -> None:
        """Take note of changes, lowest position first."""
        for change in changes:
            key = change.subject, change.issuer
            if change.lifted:
                self._revocations.pop(key, None)
            else:
                self._revocations[key] = change

    def forget_before(self, before_us: int) -> None:
        """Forget revocations that are older, but for lasting ones."""
        for key, revocation in list(self._revocations.items()):
            if revocation.revoked_at_us < before_us and not revocation.lasting:
                del self._revocations[key]

    def in_force(self) -> list[Revocation]:
        """Return the revocations, the oldest first."""
        return sorted(self._revocations.values())

    def covers(self, identity: Identity, issued_at: float | None) -> bool:
        """Return whether somebody was revoked.

        ``issued_at`` is when their token was issued, in seconds since the epoch. What was issued
        later than the revocation isn't covered. A static token isn't issued at any time, and a
        token that doesn't say when counts as older.
        """
        revocations = self._revocations
        if not revocations or not identity.subject:
            return False
        for issuer in (None, identity.issuer):
            revocation = revocations.get((identity.subject, issuer))
            if revocation is not None and (
                identity.kind is Kind.TOKEN
                or issued_at is None
                or issued_at * 1_000_000 <= revocation.revoked_at_us
            ):
                return True
        return False
