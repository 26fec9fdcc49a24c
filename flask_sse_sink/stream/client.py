"""The public record of one open stream: whose it is, what it got, how it ended."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from ..access.principal import Identity, Principal
from ..filters import Filter
from .send_queue import SendQueue
from .settings import SSESettings

#: Why a stream ended whose client may no longer read.
EXPIRED = "expired"
REVOKED = "revoked"

# So many threads of streams are woken together, and then so much time is left to them.
_AT_ONCE = 50
_PAUSE_SECONDS = 0.005


class Client:
    """One stream. ``sink`` is the sink's name, ``filter`` what the client asked for.

    ``address`` is the peer's address, ``connected_at`` a time on the monotonic clock, ``missed``
    the number of events that the client lost because it was slow. ``reason`` is empty while the
    stream is open, and then says why it ended: ``closed`` (the peer hung up), ``stalled`` (the
    peer took nothing for ``write_timeout``), ``drained`` (the server is stopping), ``expired``
    (the token has ended), ``revoked`` (its subject was revoked), ``refused`` (the client was never
    let in), ``failed`` (an error), or the word that :meth:`end` was given.
    ``principal`` is who reads the stream, None where the sink is open; otherwise ``filter`` is
    what they asked for and may read.
    """

    def __init__(
        self,
        sink: str,
        filter: Filter,
        address: str | None,
        settings: SSESettings,
        principal: Principal | None = None,
    ) -> None:
        self.sink = sink
        self.filter = filter
        self.address = address
        self.principal = principal
        #: The id of the request for the stream, "" where it has none.
        self.request_id = ""
        self.connected_at = time.monotonic()
        self.missed = 0
        self.reason = ""
        #: When the write in progress began, on the monotonic clock; 0 between writes.
        self.writing_since = 0.0
        #: Whether the stream ends without another byte.
        self.over = False
        self.settings = settings
        self._ended_after = 0.0
        #: What waits for the client. Its ``sender`` is where the client's events go.
        self.queue = SendQueue(settings.queue_size, settings.queue_bytes, settings.replay.on)

    @property
    def identity(self) -> Identity | None:
        """Return what tells whoever reads the stream from others, None where the sink is open."""
        return self.principal.identity if self.principal is not None else None

    @property
    def name(self) -> str:
        """Return what to call whoever reads the stream, "" where the sink is open."""
        return self.principal.name if self.principal is not None else ""

    @property
    def expires_at(self) -> float | None:
        """Return when the stream has to end at the latest, in seconds since the epoch."""
        return self.principal.expires_at if self.principal is not None else None

    @property
    def seconds(self) -> float:
        """Return for how many seconds the stream has been open, or was open."""
        return self._ended_after or time.monotonic() - self.connected_at

    @property
    def write_timeout(self) -> float:
        """Return for how many seconds the peer may take nothing."""
        return self.settings.write_timeout

    @property
    def waiting(self) -> int:
        """Return how many frames wait to be written."""
        return self.queue.waiting

    @property
    def frames(self) -> int:
        """Return how many events were written to the client."""
        return self.queue.sender.written

    def end(self, reason: str) -> None:
        """End the stream once what waits is written. Any thread may call it, more than once."""
        self.reason = self.reason or reason
        self.queue.close()

    def drop(self, reason: str) -> None:
        """End the stream without another byte. Any thread may call it, more than once."""
        self.reason = self.reason or reason
        self.over = True
        self.queue.close(forget=True)

    def finish(self, reason: str) -> None:
        """Note that the stream has ended, for this reason unless one is known already."""
        self.drop(reason)
        self._ended_after = time.monotonic() - self.connected_at


def paced(clients: Sequence[Client]) -> Iterator[Client]:
    """Yield clients for whoever ends the stream of each, with a short pause after every 50.

    The thread of each stream is woken to write its end. If a thousand threads are woken together,
    they contend for the interpreter: on a busy machine that took seconds, and with pauses 0.4 s.
    """
    for count, client in enumerate(clients, 1):
        yield client
        if count % _AT_ONCE == 0:
            time.sleep(_PAUSE_SECONDS)
