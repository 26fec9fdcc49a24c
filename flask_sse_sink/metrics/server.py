"""What is counted of the whole server: publishing, capacity, the log, and what runs."""

from __future__ import annotations

from typing import Any

from .failsafe import create_or_ignore, never_fails
from .once import once

# Seconds.
_BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


class ServerMetrics:
    """The metrics of this process that no sink is named in."""

    def __init__(self) -> None:
        # Imported as late as `once` says.
        from prometheus_client import Gauge, Histogram

        def gauge(name: str, help: str, mode: str = "mostrecent", *labels: str) -> Any:
            return create_or_ignore(
                Gauge, f"sse_sink_{name}", help, labels, multiprocess_mode=mode
            )

        self._ingest = create_or_ignore(
            Histogram,
            "sse_sink_ingest_seconds",
            "How long requests that publish took, by the status of their answers",
            ["status"],
            buckets=_BUCKETS,
        )
        self._by_status: dict[int, Any] = {}
        self._max_clients = gauge(
            "max_clients", "Streams that the workers admit at the same time", "livesum"
        )
        self._build = gauge(
            "build_info",
            "1; the labels tell the versions, and the kind of log",
            "livemax",
            "version",
            "python",
            "log",
        )
        self._available = gauge("log_available", "1 if the log could be read, else 0")
        self._head = gauge("log_head_id", "The id of the newest event ever stored")
        self._events = gauge("log_events", "Events that the log keeps")
        self._bytes = gauge("log_bytes", "What the log takes, on the disk or in Redis's memory")
        self._oldest = gauge(
            "log_oldest_timestamp_seconds",
            "When the oldest event that the log keeps was stored, 0 if it keeps none",
        )

    @never_fails
    def ingested(self, status: int, seconds: float) -> None:
        """Observe how long a request took that publishes."""
        by_status = self._by_status.get(status)
        if by_status is None:
            by_status = self._by_status[status] = self._ingest.labels(str(status))
        by_status.observe(seconds)

    @never_fails
    def capacity(self, max_clients: int) -> None:
        """Set how many streams this process admits at the same time."""
        self._max_clients.set(max_clients)

    @never_fails
    def build(self, version: str, python: str, log: str) -> None:
        """Tell what runs: the version of this package and of Python, and the kind of log."""
        self._build.labels(version, python, log).set(1)

    @never_fails
    def log_away(self) -> None:
        """Tell that the log can't be read. What was known of it stays."""
        self._available.set(0)

    @never_fails
    def log_status(self, head: int, events: int, size_bytes: int, oldest: float) -> None:
        """Tell what the log holds; ``oldest`` is in seconds since the epoch."""
        self._available.set(1)
        self._head.set(head)
        self._events.set(events)
        self._bytes.set(size_bytes)
        self._oldest.set(oldest)


#: Returns the metrics of the whole server in this process.
server = once(ServerMetrics)
