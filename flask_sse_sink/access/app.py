"""What a Flask app says of its own users: who they are, and what they may read."""

from __future__ import annotations

import time
from collections.abc import Callable

from .grants import Grants
from .principal import Identity, Kind, Principal

#: Returns what whoever sends the current request may read of the sink with this name. None leaves
#: that to tokens, tickets and cookies.
Authorize = Callable[[str], Grants | None]


class AppAuthorizer:
    """Asks a function of the app who reads; without a function, nobody is known to the app.

    ``clock`` returns seconds since the epoch.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._authorize: Authorize | None = None
        self._subject: Callable[[], object] | None = None

    @property
    def is_set(self) -> bool:
        """Return whether there is a function to ask."""
        return self._authorize is not None

    def set(self, authorize: Authorize, subject: Callable[[], object] | None) -> None:
        """Ask this function from now on, and ``subject`` for a name that can be revoked."""
        self._authorize = authorize
        self._subject = subject

    def __call__(self, sink: str) -> Principal | None:
        """Return who reads the sink in the current request, None if that isn't for the app."""
        grants = self._authorize(sink) if self._authorize is not None else None
        return None if grants is None else self.principal(grants)

    def principal(self, grants: Grants, subject: object = None) -> Principal:
        """Return somebody with these grants, whom the app knows as ``subject``.

        If that is None, the function that was set says it.
        """
        if subject is None and self._subject is not None:
            subject = self._subject()
        name = "" if subject is None else str(subject)
        return Principal(Identity(Kind.APP, "", name), name, grants, issued_at=self._clock())
