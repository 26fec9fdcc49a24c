"""What is counted of pulled sinks."""

from __future__ import annotations

from typing import Any

from .failsafe import create_or_ignore, never_fails
from .once import once

# Seconds.
_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0, 30.0, 60.0)


class PulledMetrics:
    """The counts of all pulled sinks, labelled with the sink's name."""

    def __init__(self) -> None:
        # Imported as late as `once` says.
        from prometheus_client import Counter, Gauge, Histogram

        def counter(name: str, help: str) -> Any:
            return create_or_ignore(Counter, f"sse_sink_pull_{name}", help, ["sink"])

        def gauge(name: str, help: str) -> Any:
            # The log knows the number, whichever process asks it.
            return create_or_ignore(
                Gauge, f"sse_sink_pull_{name}", help, ["sink"], multiprocess_mode="mostrecent"
            )

        self._extracted = counter("extracted", "Events that were extracted")
        self._repeated = counter("attempts", "Leases of events that were leased before")
        self._confirmed = counter("confirmed", "Events that were confirmed")
        self._missed = counter("missed", "Events that were pruned before they were confirmed")
        self._lag = gauge("lag", "Events that aren't confirmed")
        self._out = gauge("out", "Events that are leased")
        self._dead = gauge("dead", "Dead letters")
        self._waiting = create_or_ignore(
            Gauge,
            "sse_sink_pull_waiting",
            "Requests that wait for events",
            ["sink"],
            multiprocess_mode="livesum",
        )
        self._seconds = create_or_ignore(
            Histogram,
            "sse_sink_pull_extract_seconds",
            "How long an extract took, without waiting",
            ["sink"],
            buckets=_BUCKETS,
        )

    @never_fails
    def extracted(self, sink: str, events: int, repeated: int, seconds: float) -> None:
        """Count a batch: its events, those that were leased before, and how long it took."""
        self._extracted.labels(sink).inc(events)
        self._repeated.labels(sink).inc(repeated)
        self._seconds.labels(sink).observe(seconds)

    @never_fails
    def confirmed(self, sink: str, events: int) -> None:
        """Count events that were confirmed."""
        self._confirmed.labels(sink).inc(events)

    @never_fails
    def missed(self, sink: str, events: int) -> None:
        """Count events that were pruned before they were confirmed."""
        self._missed.labels(sink).inc(events)

    @never_fails
    def waiting(self, sink: str, change: int) -> None:
        """Count a request that begins to wait (1), or no longer does (-1)."""
        self._waiting.labels(sink).inc(change)

    @never_fails
    def at(self, sink: str, lag: int, out: int, dead: int) -> None:
        """Set how many events aren't confirmed, are leased, and are dead letters."""
        for counter in (self._extracted, self._repeated, self._confirmed, self._missed):
            # There from the start: Prometheus can't tell that a counter has risen which is new.
            counter.labels(sink)
        self._lag.labels(sink).set(lag)
        self._out.labels(sink).set(out)
        self._dead.labels(sink).set(dead)


#: Returns the metrics of pulled sinks in this process.
pulled = once(PulledMetrics)
