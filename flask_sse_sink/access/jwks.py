"""An issuer's JSON Web Key Set: fetched when it is needed, and kept."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from .fetch import TIMEOUT_SECONDS, FetchFailed
from .keys import KeySet
from .refusal import Reason, Refusal

_log = logging.getLogger(__name__)

#: Unknown keys cause one fetch in this time at most.
UNKNOWN_KEY_SECONDS = 30.0
#: After a fetch that failed, as long as there are no keys at all.
RETRY_SECONDS = 2.0

# Longer than a fetch takes, so that a waiting request sees its end.
_PATIENCE_SECONDS = TIMEOUT_SECONDS + 0.5
_BEFORE = float("-inf")


class FetchedKeys:
    """The keys that ``load`` returns the document of, for the issuer called ``name``.

    They are fetched by the first request that needs them, on its own thread, and kept: while the
    issuer is away, the old ones serve. A token with an unknown key causes another fetch, one in
    :data:`UNKNOWN_KEY_SECONDS` at most. Other requests that need the keys meanwhile wait for the
    same fetch, at most ``waiters()`` of them, so that an issuer that hangs doesn't take every
    thread; those beyond are answered with the keys that there are.

    ``load`` raises :exc:`~.fetch.FetchFailed`; ``clock`` returns seconds.
    """

    def __init__(
        self,
        load: Callable[[], bytes],
        name: str,
        waiters: Callable[[], int] = lambda: 8,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._load = load
        self._name = name
        self._waiters = waiters
        self._clock = clock
        self._keys: KeySet | None = None
        self.reset()

    def reset(self) -> None:
        """Forget what other threads were doing, as a child process must after a fork."""
        self._lock = threading.Lock()
        self._fetching: threading.Event | None = None
        self._waiting = 0
        self._next_fetch = _BEFORE

    def find(self, kid: str | None, algorithm: str) -> Any:
        """Return the key for a token's ``kid`` and ``alg``; this may wait for a fetch.

        :raises Refusal: there is no such key, or the keys were never got.
        """
        keys = self._keys
        key = keys.find(kid, algorithm) if keys is not None else None
        if key is None:
            keys = self._refreshed(keys, kid, algorithm)
            key = keys.find(kid, algorithm) if keys is not None else None
        if keys is None:
            raise Refusal(Reason.UNAVAILABLE, "the keys of the token's issuer aren't there yet")
        if key is None:
            raise Refusal(Reason.UNKNOWN_KEY, "the token's issuer has no such key")
        return key

    def _refreshed(self, known: KeySet | None, kid: str | None, algorithm: str) -> KeySet | None:
        """Return the keys after a fetch, or without one where none may be made now."""
        with self._lock:
            if self._keys is not known:
                return self._keys
            fetching = self._fetching
            if fetching is None:
                if self._clock() < self._next_fetch:
                    return known
                self._fetching = done = threading.Event()
            elif self._waiting >= self._waiters():
                return known
            else:
                self._waiting += 1
        if fetching is None:
            try:
                self._fetch(known, kid, algorithm)
            finally:
                done.set()
        else:
            fetching.wait(_PATIENCE_SECONDS)
            with self._lock:
                self._waiting -= 1
        return self._keys

    def _fetch(self, known: KeySet | None, kid: str | None, algorithm: str) -> None:
        keys, pause = known, RETRY_SECONDS if known is None else UNKNOWN_KEY_SECONDS
        try:
            keys = KeySet(self._load())
            is_expected = known is None and keys.find(kid, algorithm) is not None
            # After an expected fetch, the first unknown key may well be a new one.
            pause = 0.0 if is_expected else UNKNOWN_KEY_SECONDS
        except (FetchFailed, ValueError) as error:
            _log.warning(
                "the keys of the issuer %s can't be fetched: %s. %s",
                self._name,
                error,
                "The old ones serve on" if known is not None else "Its tokens are answered 503",
            )
        finally:
            with self._lock:
                self._keys = keys
                self._next_fetch = self._clock() + pause
                self._fetching = None
