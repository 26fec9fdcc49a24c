"""What is counted: the metrics of a process, and those of each sink."""

from __future__ import annotations

import threading
from typing import Any

from .failsafe import create_or_ignore, never_fails
from .multiprocess import creating_files
from .once import once

_WAYS = ("direct", "queue", "replay")
_REASONS = ("closed", "stalled", "drained", "failed", "expired", "revoked", "ended")
# Seconds.
# fmt: off
_BUCKETS = (
    0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5,
    1.0, 2.0, 5.0, 10.0, 30.0,
)
# fmt: on


class SinkMetrics:
    """The counts of one sink; :class:`Metrics` has their names and help texts."""

    def __init__(self, metrics: Metrics, sink: str) -> None:
        def labelled(metric: Any, *labels: str) -> Any:
            return create_or_ignore(metric.labels, sink, *labels)

        self._clients = labelled(metrics.clients)
        self._refused = labelled(metrics.refused)
        self._ended = {reason: labelled(metrics.ended, reason) for reason in _REASONS}
        self._deliveries = {way: labelled(metrics.deliveries, way) for way in _WAYS}
        self._missed = labelled(metrics.missed)
        self._seconds = labelled(metrics.seconds)
        self._waiting = labelled(metrics.waiting)
        self._most = labelled(metrics.most)

    @never_fails
    def connected(self) -> None:
        """Count a stream that began."""
        self._clients.inc()

    @never_fails
    def ended(self, reason: str) -> None:
        """Count a stream that ended. A reason of the application's own counts as ``ended``."""
        self._clients.dec()
        self._ended.get(reason, self._ended["ended"]).inc()

    @never_fails
    def refused(self) -> None:
        """Count a client that got no stream."""
        self._refused.inc()

    @never_fails
    def delivered(self, frames: int, seconds: float | None, way: str = "queue") -> None:
        """Count frames that were written, and observe how long ago the oldest was stored.

        ``way`` is ``direct``, ``queue`` if the stream's own thread wrote the frames, or ``replay``
        if that thread read them from the log. One call is one observation of the seconds, for
        however many clients.
        """
        self._deliveries[way].inc(frames)
        if seconds is not None:
            self._seconds.observe(max(0.0, seconds))

    @never_fails
    def missed(self, frames: int) -> None:
        """Count frames that a slow client lost."""
        self._missed.inc(frames)

    @never_fails
    def queued(self, total: int, most: int) -> None:
        """Set how many frames wait in all queues of this process, and in its fullest."""
        self._waiting.set(total)
        self._most.set(most)


class Metrics:
    """The metrics of this process."""

    def __init__(self) -> None:
        # Imported as late as `once` says.
        from prometheus_client import Counter, Gauge, Histogram

        def counter(name: str, help: str, *labels: str) -> Any:
            return create_or_ignore(Counter, f"sse_sink_{name}", help, labels)

        def gauge(name: str, help: str, mode: Any) -> Any:
            name = f"sse_sink_{name}"
            return create_or_ignore(Gauge, name, help, ["sink"], multiprocess_mode=mode)

        self._stored = counter("events_stored", "Events stored")
        self._duplicates = counter("events_duplicate", "Events that were in the log already")
        self.clients = gauge("clients", "Open streams", "livesum")
        self.refused = counter("clients_refused", "Clients not let in", "sink")
        self.ended = counter("clients_ended", "Streams that ended", "sink", "reason")
        self.deliveries = counter("deliveries", "Event frames written to clients", "sink", "way")
        self.missed = counter("missed", "Event frames that slow clients lost", "sink")
        self.waiting = gauge("queue_frames", "Frames that wait in clients' queues", "livesum")
        self.most = gauge("queue_frames_most", "Frames in the fullest queue", "livemax")
        self._waiting_bytes = create_or_ignore(
            Gauge,
            "sse_sink_queue_bytes",
            "Bytes of the events that wait in clients' queues, each counted once a worker",
            multiprocess_mode="livesum",
        )
        self.seconds = create_or_ignore(
            Histogram,
            "sse_sink_delivery_seconds",
            "From an event's being stored to its having been written, "
            "to one client or to the last of those with the same filter",
            ["sink"],
            buckets=_BUCKETS,
        )
        self.cut = counter(
            "connections_ended", "Connections ended without an answer to a request", "reason"
        )
        self.access_refused = counter("access_refused", "Requests that weren't allowed", "reason")
        self._sinks: dict[str, SinkMetrics] = {}
        self._lock = threading.Lock()

    @never_fails
    def stored(self, accepted: int, duplicates: int) -> None:
        """Count the events of a batch: those that were stored, and repeats."""
        if accepted:
            self._stored.inc(accepted)
        if duplicates:
            self._duplicates.inc(duplicates)

    @never_fails
    def waiting_bytes(self, count: int) -> None:
        """Set how many bytes wait in all queues of this process."""
        self._waiting_bytes.set(count)

    def sink(self, name: str) -> SinkMetrics:
        """Return the metrics of the sink with this name."""
        counts = self._sinks.get(name)
        if counts is None:
            with self._lock:
                counts = self._sinks.get(name)
                if counts is None:
                    with creating_files():
                        counts = self._sinks[name] = SinkMetrics(self, name)
        return counts


#: Returns the metrics of this process, which all its apps share.
get = once(Metrics)


@never_fails
def access_refused(reason: str) -> None:
    """Count a request that wasn't allowed, by the reason."""
    get().access_refused.labels(reason).inc()


@never_fails
def connection_ended(reason: str) -> None:
    """Count a connection that the server ended. The reason is ``slow`` or ``crowded``."""
    get().cut.labels(reason).inc()
