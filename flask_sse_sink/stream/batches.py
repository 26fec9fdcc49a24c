"""What one stream writes, batch after batch, from its first frame to its last."""

from __future__ import annotations

import contextlib
import queue
import random
import time
from collections.abc import Callable

from ..exceptions import LogUnavailable
from ..threads import Backoff
from . import frame
from .client import EXPIRED, REVOKED, Client
from .connection import SILENCE
from .direct_socket import DirectSocket
from .heartbeats import Heartbeats
from .probe import Probe
from .replay import Replay
from .response import warn_altered
from .write_batch import WriteBatch

# When the stream's own thread sends a heartbeat although another thread should have sent it.
_FALLBACK_SECONDS = 60.0

# The last frame, by the reason for which a stream ends; for every other reason it is `closing`.
_LAST_FRAMES = {EXPIRED: frame.expired, REVOKED: frame.expired}

_NEW, _STARTED, _LIVE, _ENDED = range(4)


class Batches:
    """The batches of an open stream, made on the stream's own thread as it asks for them.

    The first holds ``info: connected``. Then come the events that the client missed, if it has a
    ``replay``; then live events as they come, and heartbeats; at last ``info: closing`` or
    ``info: expired``, unless the peer is gone. With a replay nothing is lost: what doesn't fit
    into the client's queue is read from the log. With a ``direct`` socket, live events are also
    sent past this, and ``heartbeats`` sends the heartbeats.

    With a ``probe``, its frames come after the first, between the live events. Direct sends begin
    after its last frame, as an event that is sent directly would put off the next one.
    """

    __slots__ = (
        "_catch_up",
        "_client",
        "_direct",
        "_heartbeats",
        "_probe",
        "_quiet_seconds",
        "_replay",
        "_size",
        "_state",
        "notice",
        "on_live",
    )

    def __init__(
        self,
        client: Client,
        replay: Replay | None,
        direct: DirectSocket | None,
        heartbeats: Heartbeats | None = None,
    ) -> None:
        self._client = client
        self._replay = replay
        self._direct = direct
        self._heartbeats = heartbeats
        #: Is called once, before the stream waits for live events, or in its probe.
        self.on_live: Callable[[], object] | None = None
        self.notice = b""  # a frame that comes right after the first one
        self._probe: Probe | None = None
        self._quiet_seconds: float = client.settings.heartbeat_timeout
        self._state = _NEW
        self._size = 0
        self._catch_up: CatchUp | None = None

    def begin_with(self, probe: Probe) -> None:
        """Have the frames of a probe written after the first batch; to be called before that."""
        self._probe = probe

    def next(self) -> WriteBatch | None:
        """Return what is to be written next, None where the stream has ended.

        Waits until there is something. May return a batch without data.
        """
        if self._state == _NEW:
            self._state = _STARTED
            data = self._first()
            self._size = len(data)
            return WriteBatch(data)
        if self._probe is not None and self._state == _STARTED:
            batch = self._probed(self._probe)
            if batch is not None:
                self._size += len(batch.data)
                return batch
        if self._state == _STARTED:
            self._state = _LIVE
            self._open_direct()
            if self._replay is not None and self._replay.after is not None:
                self._catch_up = CatchUp(self._client, self._replay)
        if self._catch_up is not None:
            batch = self._catch_up.next()
            if batch is not None:
                return batch
            self._catch_up = None
        self._waits()
        return None if self._state == _ENDED else self._live()

    def _waits(self) -> None:
        if self.on_live is not None:
            self.on_live()
            self.on_live = None

    def _first(self) -> bytes:
        retry_ms = round(self._client.settings.retry * 1000)
        if self._replay is not None and self._replay.after is None:
            return frame.connected(retry_ms, self._replay.live_after) + self.notice
        return frame.connected(retry_ms) + self.notice

    def _open_direct(self) -> None:
        """Allow direct sends from now on, if the first frame went out unchanged."""
        if self._direct is None:
            return
        if self._direct.opens(self._size):
            self._client.queue.sender.open(self._direct.send)
            if self._heartbeats is not None and self._heartbeats.add(self._client):
                self._quiet_seconds = max(2 * self._quiet_seconds, _FALLBACK_SECONDS)
        else:
            warn_altered("the first bytes of one didn't go out as they were")

    def _probed(self, probe: Probe) -> WriteBatch | None:
        """Return what is written until the last frame of the probe, then None."""
        if self._client.queue.closed or probe.is_complete:
            self._probe = None
            return None
        # What others wait for until this stream is open mustn't wait for the probe.
        self._waits()
        seconds = probe.seconds_left()
        if seconds > 0:
            with contextlib.suppress(queue.Empty):
                return self._taken(self._client.queue.take(seconds))
        return WriteBatch(probe.frame())

    def _live(self) -> WriteBatch | None:
        try:
            batch = self._client.queue.take(self._quiet_seconds)
        except queue.Empty:
            return WriteBatch(self._heartbeat())
        return self._taken(batch)

    def _taken(self, batch: WriteBatch) -> WriteBatch | None:
        client = self._client
        if batch.rest is not None:
            client.writing_since = time.monotonic()
            self._finish(batch.rest)
        elif (error := client.queue.sender.error) is not None:
            self._lose_peer(error)
        if client.over:
            return None
        if batch.behind is not None and self._replay is not None:
            self._replay.restart(batch.behind)
            self._catch_up = CatchUp(client, self._replay)
        elif not batch.data and batch.rest is None:
            self._state = _ENDED
            last_frame = _LAST_FRAMES.get(client.reason, frame.closing)
            return WriteBatch(last_frame(jittered_retry_ms(client)))
        return batch

    def _heartbeat(self) -> bytes:
        """Return a heartbeat, nothing where something waits already.

        With a replay it carries the id that the client has come to: of the events up to there it
        has all that it gets.
        """
        if self._replay is None:
            return frame.HEARTBEAT
        # In this order: what was delivered before this moment is in the queue by now, or was sent.
        id = self._client.queue.sent_up_to(self._replay.membership.delivered_up_to())
        return b"" if id is None else frame.heartbeat(id)

    def _finish(self, rest: memoryview) -> None:
        """Write the end of a chunk whose beginning was sent directly."""
        assert self._direct is not None, "a rest without a direct socket"
        if self._client.over:
            self._direct.cut()
            return
        try:
            self._direct.finish(rest)
        except OSError as error:
            self._lose_peer(error)

    def _lose_peer(self, error: OSError) -> None:
        assert self._direct is not None, "a send without a direct socket"
        if isinstance(error, InterruptedError):
            self._client.drop("failed")
        else:
            self._client.drop("stalled" if error.errno in SILENCE else "closed")
        self._direct.cut()


class CatchUp:
    """Reads for one client what it missed, and lets it have the live events where the log ends."""

    def __init__(self, client: Client, replay: Replay) -> None:
        self._client = client
        self._replay = replay
        self._until: int | None = None
        self._quiet_since = time.monotonic()
        self._backoff = Backoff()

    def next(self) -> WriteBatch | None:
        """Return the next page or a heartbeat, None once the client has joined the live events.

        While the log is away, this tries again and again.
        """
        client, replay = self._client, self._replay
        while not client.queue.closed and not self._is_complete():
            batch = WriteBatch(b"")
            try:
                if replay.at_end and self._until is None:
                    self._until = replay.join()
                    continue
                batch = replay.read(self._until)
                self._backoff.reset()
            except LogUnavailable:
                client.queue.wait_closed(self._backoff.next())
            if not batch.data and self._is_heartbeat_due():
                batch = WriteBatch(replay.heartbeat())
            if batch.data:
                self._quiet_since = time.monotonic()
                return batch
        return None

    def _is_complete(self) -> bool:
        after = self._replay.after
        return self._until is not None and after is not None and after >= self._until

    def _is_heartbeat_due(self) -> bool:
        quiet_seconds = time.monotonic() - self._quiet_since
        return quiet_seconds > self._client.settings.heartbeat_timeout


def jittered_retry_ms(client: Client) -> int:
    """Return after how many milliseconds the client is to come back.

    Clients whose streams end together don't all come back together.
    """
    return round(client.settings.retry * 1000 * random.uniform(1, 2))
