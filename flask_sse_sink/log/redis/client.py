"""Lends the connection to Redis, and keeps callers from waiting for a Redis that is away."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from redis.exceptions import RedisClusterException

from ...exceptions import LogUnavailable
from .connect import connect, disconnect
from .errors import ERRORS, UNREACHABLE, cure
from .scripts import Scripts
from .url import without_password

_TRY_SECONDS = 0.5


class Connected(NamedTuple):
    """A client of the library, and the scripts registered with it."""

    db: Any
    scripts: Scripts


class Client:
    """The way to the Redis that ``url`` names.

    The first use opens connections; after an error the next use opens others. While Redis can't
    be reached, one caller in half a second tries, and the others fail at once: a server whose
    threads all wait for Redis would answer nobody. ``timeout`` is in seconds, for each answer.
    """

    def __init__(self, url: str, timeout: float) -> None:
        #: The URL without its password, for messages.
        self.name = without_password(url)
        self.timeout = timeout
        self._url = url
        self._lock = threading.Lock()
        self._connected: Connected | None = None
        # Why Redis couldn't be reached when last tried, None if it could.
        self._away: LogUnavailable | None = None
        self._next_try = 0.0

    @contextmanager
    def lend(self) -> Iterator[Connected]:
        """Lend the client.

        :raises LogUnavailable: in place of every error of the library.
        """
        away = self._away
        if away is not None and not self._may_try():
            raise LogUnavailable(str(away), away.public)
        try:
            yield self._opened()
        except ERRORS as error:
            public, cause = cure(error)
            message = f"{self.name}: {cause}"
            if isinstance(error, RedisClusterException):
                # The cluster's nodes may have other addresses by now than the client knows.
                self._close(in_use=False)
            if isinstance(error, UNREACHABLE):
                self._away = LogUnavailable(message, public)
                self._next_try = time.monotonic() + _TRY_SECONDS
            raise LogUnavailable(message, public) from error
        self._away = None

    def close(self) -> None:
        """Close the connections; the next use opens others."""
        self._close(in_use=True)

    def _close(self, *, in_use: bool) -> None:
        with self._lock:
            connected, self._connected = self._connected, None
        if connected is not None:
            disconnect(connected.db, in_use=in_use)

    def _may_try(self) -> bool:
        """Return whether this caller is the one that tries."""
        now = time.monotonic()
        with self._lock:
            if now < self._next_try:
                return False
            # The others fail until this one has failed, too.
            self._next_try = now + 2 * self.timeout
            return True

    def _opened(self) -> Connected:
        connected = self._connected
        if connected is not None:
            return connected
        # Without the lock, as connecting to a cluster may take long: callers that waited for the
        # lock would take as long, one after the other.
        db = connect(self._url, self.timeout)
        mine = Connected(db, Scripts(db))
        with self._lock:
            connected = self._connected
            if connected is None:
                connected = self._connected = mine
        if connected is not mine:
            disconnect(db)
        return connected
