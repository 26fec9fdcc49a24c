"""One open stream: what waits for it, and the generator that a thread of its own runs."""

from __future__ import annotations

import queue
import random
import time
from collections.abc import Callable, Iterator

from . import frame
from .chunk import Taken
from .exceptions import LogUnavailable
from .lane import Lane
from .loop import Backoff
from .outbox import Outbox
from .pattern import Filter
from .peer import SILENCE
from .replay import Replay
from .settings import SinkSettings


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
        lane: Lane | None = None,
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
        self._settings = settings
        self._ended_after = 0.0
        #: Where its events go.
        self.outbox = Outbox(settings.queue_size, settings.queue_bytes, settings.replay.on)
        self._lane = lane

    @property
    def seconds(self) -> float:
        """Return how long the stream has been open, or was."""
        return self._ended_after or time.monotonic() - self.connected_at

    @property
    def write_timeout(self) -> float:
        """Return for how many seconds the peer may take nothing."""
        return self._settings.write_timeout

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

    def stream(
        self,
        join: Callable[[Client], None],
        leave: Callable[[Client], None],
        wrote: Callable[[Taken, bool], None] = lambda taken, replayed: None,
        replay: Replay | None = None,
    ) -> Iterator[bytes]:
        """Yield the stream's bytes until its peer is gone or :meth:`end` is called.

        ``join`` is called before the first bytes, so that every event after it is waiting by the
        time the peer has read them; where the log is away, the peer is told to come back.
        ``wrote`` is called after each write of events, ``leave`` when the stream is over, however
        it ends. With a ``replay``, which enters by itself where it doesn't begin live, nothing
        is lost: what doesn't fit into the outbox is read from the log.
        """
        retry_ms = round(self._settings.retry * 1000)
        heartbeat_seconds = self._settings.heartbeat_timeout
        try:
            join(self)
        except LogUnavailable:
            self.drop("refused")
            yield frame.busy(round(retry_ms * random.uniform(1, 2)))
            return
        try:
            first = frame.connected(retry_ms)
            if replay is not None and replay.after is None:
                first = frame.connected(retry_ms, replay.entered)
            self.writing_since = time.monotonic()
            yield first
            self.writing_since = 0.0
            self._open_lane(len(first))
            if replay is not None and replay.after is not None:
                yield from self._catch_up(replay, wrote)
            while True:
                try:
                    taken = self.outbox.get_frames(heartbeat_seconds)
                except queue.Empty:
                    taken = Taken(self._heartbeat(replay), 0)
                    if not taken.data:
                        continue
                self.missed += taken.lost
                self.writing_since = time.monotonic()
                if taken.rest is not None:
                    self._finish(taken.rest)
                elif self.outbox.error is not None:
                    self._lost_peer(self.outbox.error)
                if self.over:
                    return
                if taken.data:
                    yield taken.data
                elif taken.rest is None and taken.behind is None:
                    # Those who all end at once should not all come back at once.
                    yield frame.closing(round(retry_ms * random.uniform(1, 2)))
                    return
                self.writing_since = 0.0
                if taken.frames:
                    self.outbox.written += taken.frames
                    wrote(taken, False)
                if taken.behind is not None and replay is not None:
                    replay.leave()
                    replay.restart(taken.behind)
                    yield from self._catch_up(replay, wrote)
        except GeneratorExit:
            raise
        except BaseException:
            self.reason = self.reason or "failed"
            raise
        finally:
            self.reason = self.reason or "closed"
            self._ended_after = time.monotonic() - self.connected_at
            leave(self)

    def _heartbeat(self, replay: Replay | None) -> bytes:
        """Return a heartbeat, nothing where something waits already.

        Who replays is told how far it has come, though its filter held all of that back.
        """
        if replay is None:
            return frame.HEARTBEAT
        # In this order: what was considered before is in the outbox by now, or was sent.
        id = self.outbox.sent_up_to(replay.considered())
        return b"" if id is None else frame.heartbeat(id)

    def _catch_up(self, replay: Replay, wrote: Callable[[Taken, bool], None]) -> Iterator[bytes]:
        """Yield what the log has, and become live where it ends."""
        assert replay.after is not None, "live"
        until: int | None = None
        quiet_since, backoff = time.monotonic(), Backoff()
        while not self.outbox.closed and (until is None or replay.after < until):
            try:
                if replay.at_end and until is None:
                    until = replay.enter()
                    continue
                taken = replay.read(until)
                backoff.reset()
            except LogUnavailable:
                taken = Taken(b"", 0)
                self.outbox.wait(backoff.next())
            data = taken.data
            if not data and time.monotonic() - quiet_since > self._settings.heartbeat_timeout:
                data = frame.heartbeat(replay.after)
            if data:
                self.missed += taken.lost
                quiet_since = self.writing_since = time.monotonic()
                yield data
                self.writing_since = 0.0
                if taken.frames or taken.lost:
                    self.outbox.written += taken.frames
                    wrote(taken, True)

    def _open_lane(self, size: int) -> None:
        """Let others write from now on, if the ``size`` bytes so far went the way they should."""
        if self._lane is not None and self._lane.opens(size):
            self.outbox.open_lane(self._lane.send)

    def _finish(self, rest: memoryview) -> None:
        assert self._lane is not None, "a rest without a lane"
        if self.over:
            self._lane.cut()
            return
        try:
            self._lane.finish(rest)
        except OSError as error:
            self._lost_peer(error)

    def _lost_peer(self, error: OSError) -> None:
        assert self._lane is not None, "a send without a lane"
        if isinstance(error, InterruptedError):
            self.drop("failed")
        else:
            self.drop("stalled" if error.errno in SILENCE else "closed")
        self._lane.cut()
