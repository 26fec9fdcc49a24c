"""One open stream as others see it: who has it, what waits for it, how it ended."""

from __future__ import annotations

import time

from ..config.settings import SinkSettings
from ..filters import Filter
from .send_queue import Outbox


class Client:
    """One stream. ``sink`` is the sink's name, ``filter`` what the client asked for.

    ``address`` is the peer's, ``connected_at`` seconds on the monotonic clock, ``missed`` how many
    events it lost for being slow. ``reason`` says why it ended and is empty while it is open:
    ``closed`` (the peer hung up), ``stalled`` (it took nothing for ``write_timeout``), ``drained``
    (the server is stopping), ``refused`` (it was never let in), ``failed`` (an error), or the word
    that :meth:`end` was given.
    """

    def __init__(
        self,
        sink: str,
        filter: Filter,
        address: str | None,
        settings: SinkSettings,
    ) -> None:
        self.sink = sink
        self.filter = filter
        self.address = address
        self.connected_at = time.monotonic()
        self.missed = 0
        self.reason = ""
        #: When the write in progress began, on the monotonic clock; 0 between writes.
        self.writing_since = 0.0
        #: Whether the stream ends without another word.
        self.over = False
        self.settings = settings
        self._ended_after = 0.0
        #: Where its events go.
        self.outbox = Outbox(settings.queue_size, settings.queue_bytes, settings.replay.on)

    @property
    def seconds(self) -> float:
        """Return how long the stream has been open, or was."""
        return self._ended_after or time.monotonic() - self.connected_at

    @property
    def write_timeout(self) -> float:
        """Return for how many seconds the peer may take nothing."""
        return self.settings.write_timeout

    @property
    def waiting(self) -> int:
        """Return how many frames wait to be written."""
        return self.outbox.waiting

    @property
    def frames(self) -> int:
        """Return how many events were written to it."""
        return self.outbox.written

    def end(self, reason: str) -> None:
        """End the stream once what waits is written. Any thread may call it, more than once."""
        self.reason = self.reason or reason
        self.outbox.close()

    def drop(self, reason: str) -> None:
        """End the stream without another word, as its peer is gone. Any thread may call it."""
        self.reason = self.reason or reason
        self.over = True
        self.outbox.close(forget=True)

    def finish(self, reason: str) -> None:
        """Note that the stream has ended, for this reason unless there was one already."""
        self.drop(reason)
        self._ended_after = time.monotonic() - self.connected_at
