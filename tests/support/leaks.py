"""What a test must not leave behind: threads, clients, receivers of signals, and sockets."""

from __future__ import annotations

import os
import threading
import weakref

from flask_sse_sink import events_stored
from flask_sse_sink.processes import registered
from flask_sse_sink.runtime import Runtime
from flask_sse_sink.sinks.base import Sink


def _sockets() -> set[str]:
    sockets = set()
    for fd in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{fd}")
        except OSError:
            continue
        if target.startswith("socket:"):
            sockets.add(target)
    return sockets


def _receivers() -> set[int]:
    # A sink listens as long as its app lives: that is meant to be.
    live = [
        receiver() if isinstance(receiver, weakref.ref) else receiver
        for receiver in list(events_stored.receivers.values())
    ]
    return {
        id(each)
        for each in live
        if each is not None and not isinstance(getattr(each, "__self__", None), Sink)
    }


class Leaks:
    """Remembers what there is; :meth:`names` then tells what has come since."""

    def __init__(self) -> None:
        self._threads = set(threading.enumerate())
        self._sockets = _sockets()
        self._receivers = _receivers()

    def names(self) -> list[str]:
        """Return a line for each thread, client, receiver and socket that is left."""
        threads = [
            f"thread {thread.name}"
            for thread in threading.enumerate()
            if thread.name.startswith("sse-sink-") and thread not in self._threads
        ]
        clients = [
            f"client of sink {name}"
            for runtime in registered()
            if isinstance(runtime, Runtime)
            for name, sink in runtime.sinks.items()
            for _ in sink.clients
        ]
        receivers = ["receiver of events_stored" for _ in _receivers() - self._receivers]
        sockets = [f"open {socket}" for socket in _sockets() - self._sockets]
        return threads + clients + receivers + sockets
