"""The dispatcher: hands what the relay reads to the sinks of an app."""

from __future__ import annotations

import logging
import time
import weakref
from collections.abc import Callable, Mapping

from flask import Flask

from . import signals
from .log import StoredEnvelope
from .sinks.base import Sink
from .stream.client import Client
from .stream.delivery import Delivery
from .stream.memory import Memory
from .stream.send_queue import shrink_fullest

_log = logging.getLogger(__name__)

# How often the log says at most that queues were cut short.
_WARNING_SECONDS = 60.0


class Dispatcher:
    """The relay's listener: sends ``events_stored``, whose receivers are the sinks.

    ``memory`` counts the frames of all sinks; ``on_tail`` is called about once a second on the
    relay's thread.
    """

    def __init__(
        self,
        app: weakref.ref[Flask],
        sinks: Mapping[str, Sink],
        memory: Memory,
        on_tail: Callable[[], None],
    ) -> None:
        self._app = app
        self._sinks = sinks
        self._memory = memory
        self._next_warning = 0.0
        self.on_tail = on_tail

    def on_events(self, envelopes: list[StoredEnvelope]) -> None:
        """Send the events to every receiver of ``events_stored``."""
        app = self._app()
        if app is None:
            return
        delivery = Delivery(envelopes, self._memory)
        signals.emit(signals.events_stored, app, events=delivery)
        delivery.release()
        if self._memory.exceeded:
            self._shrink_queues()

    def on_gap(self, first_id: int, last_id: int) -> None:
        """Tell every sink that these events were pruned before they could be delivered."""
        for sink in self._sinks.values():
            sink.on_gap(first_id, last_id)

    def on_log_replaced(self) -> None:
        """End every stream, so that the clients begin anew with the log that is there now."""
        self.end_streams()

    def clients(self) -> list[Client]:
        """Return the open streams of all sinks."""
        return [client for sink in self._sinks.values() for client in sink.clients]

    def end_streams(self) -> int:
        """Tell every stream to end, and return how many were open."""
        return sum(sink.end_streams() for sink in self._sinks.values())

    def _shrink_queues(self) -> None:
        """Let the fullest queues lose what is too much for the process."""
        shrink_fullest([client.queue for client in self.clients()], self._memory)
        now = time.monotonic()
        if now >= self._next_warning:
            self._next_warning = now + _WARNING_SECONDS
            _log.warning(
                "more than server.queue_bytes: %d waits for slow clients; the fullest queues lose "
                "their oldest events, which `missed` tells their clients",
                self._memory.limit,
            )
