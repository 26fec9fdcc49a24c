"""Follows what a log says of revocations, so that a process knows who is revoked."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from ..exceptions import LogUnavailable
from ..threads import SupervisedThread
from .principal import Principal
from .refusal import Reason, Refusal
from .revocations import RevocationStore, RevokedSubjects

_log = logging.getLogger(__name__)

#: How often every process asks the log what was revoked.
FOLLOW_SECONDS = 1.0
#: A process that couldn't ask for so long lets nobody into a closed sink.
STALE_SECONDS = 10.0
# And how often while the log is away.
_RETRY_SECONDS = 0.25
_PRUNE_SECONDS = 600.0
_PAGE = 1000
_UNKNOWN = "it can't be known now whether the token was revoked"


class RevocationFollower:
    """Knows who is revoked, by asking the log for changes once a second on a thread of its own.

    The thread starts with the first :meth:`check`: where nobody is asked for a token, nothing is
    followed. ``on_change`` is called whenever the log has a change, on the thread that read it.
    After the log was away, or is another one, everything is read anew. ``keep_seconds`` is how
    long a revocation is kept. ``clock`` returns seconds since the epoch, ``monotonic`` seconds of
    a clock that is never set.
    """

    def __init__(
        self,
        log: RevocationStore,
        keep_seconds: float,
        on_change: Callable[[], object] = lambda: None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = log
        self._keep_seconds = keep_seconds
        self.on_change = on_change
        self._clock = clock
        self._monotonic = monotonic
        self._revoked = RevokedSubjects()
        self._version = ("", 0)
        self._read_at = float("-inf")
        self._failed = False
        self._next_prune = monotonic()
        self._reading = threading.Lock()
        self._starting = threading.Lock()
        self._is_started = False
        self._wake = threading.Event()
        self._thread = SupervisedThread("sse-sink-revoked", self._step)

    @property
    def thread(self) -> SupervisedThread:
        """Return the thread that asks the log."""
        return self._thread

    def start(self) -> None:
        """Read what is revoked, and follow it on a thread from now on; a second time does nothing.

        :raises LogUnavailable: the log can't be read.
        """
        if self._is_started:
            return
        with self._starting:
            if not self._is_started and not self._thread.stopping.is_set():
                self.read()
                self._thread.start()
                self._is_started = True

    def stop(self) -> None:
        """End the thread and wait for it."""
        with self._starting:
            self._thread.stopping.set()
        self._wake.set()
        self._thread.stop()

    def wake(self) -> None:
        """Have the thread ask the log now."""
        self._wake.set()

    def read(self) -> bool:
        """Ask the log what has changed, and return whether anything has.

        :raises LogUnavailable: the log can't be read.
        """
        with self._reading:
            began = self._monotonic()
            try:
                changed = self._read()
            except LogUnavailable:
                self._failed = True
                raise
            self._failed = False
            self._read_at = began
        if changed:
            self.on_change()
        return changed

    def check(self, principal: Principal) -> None:
        """Check that a principal whose request is to be allowed isn't revoked.

        :raises Refusal: it is, or the revocations couldn't be read for ten seconds.
        """
        try:
            self.start()
        except LogUnavailable as error:
            raise Refusal(Reason.UNAVAILABLE, f"{_UNKNOWN}: {error.public}") from error
        if self._monotonic() - self._read_at > STALE_SECONDS:
            raise Refusal(Reason.UNAVAILABLE, f"{_UNKNOWN}: the event log is away")
        if self.is_revoked(principal):
            raise Refusal(Reason.REVOKED, "the token was revoked; get a new one")

    def is_revoked(self, principal: Principal) -> bool:
        """Return whether the principal is revoked, as far as this process knows."""
        return self._revoked.covers(principal.identity, principal.issued_at)

    def _read(self) -> bool:
        version = identity, head = self._log.version()
        known_identity, position = self._version
        if version == self._version and not self._failed:
            return False
        anew = self._failed or identity != known_identity or head < position
        revoked = RevokedSubjects() if anew else self._revoked
        if anew:
            position = 0
        while page := self._log.changes(position, _PAGE):
            revoked.apply(page)
            position = page[-1].position
        revoked.forget_before(self._oldest_us())
        self._revoked = revoked
        self._version = identity, max(head, position)
        return True

    def _oldest_us(self) -> int:
        return int((self._clock() - self._keep_seconds) * 1_000_000)

    def _step(self) -> None:
        self._wake.wait(_RETRY_SECONDS if self._failed else FOLLOW_SECONDS)
        self._wake.clear()
        if self._thread.stopping.is_set():
            return
        was_away = self._failed
        try:
            self.read()
            if was_away:
                _log.warning("the revocations can be read again")
            self._prune()
        except LogUnavailable as error:
            if not was_away:
                _log.error("the revocations can't be read, and are asked for again: %s", error)

    def _prune(self) -> None:
        now = self._monotonic()
        if now >= self._next_prune:
            self._next_prune = now + _PRUNE_SECONDS
            self._log.prune(self._keep_seconds)
            self._revoked.forget_before(self._oldest_us())


class RevocationCheck:
    """Checks the principals of requests; ``follower`` returns what this process follows."""

    def __init__(self, follower: Callable[[], RevocationFollower]) -> None:
        self._follower = follower

    def check(self, principal: Principal) -> None:
        """Check that the principal isn't revoked. One without a subject can't be.

        :raises Refusal: it is, or that can't be known now.
        """
        if not principal.identity.subject:
            return
        try:
            follower = self._follower()
        except LogUnavailable as error:
            raise Refusal(Reason.UNAVAILABLE, f"{_UNKNOWN}: {error.public}") from error
        follower.check(principal)
