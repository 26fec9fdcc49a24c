"""Pulled sinks: how fast consumers extract and confirm.

    python -m bench.pulled [--url redis://127.0.0.1:6379/0] [--seconds 5]

One consumer takes 50,000 events in batches of 500, without a lease, with one, and of a sink with a
filter. Then eight consumers take single events with a lease, over two workers, beside an ingest of
500 events/s, whose latency is measured with and without them.
"""

from __future__ import annotations

import argparse
import http.client
import os
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from .processes import Processes, free_port, python

_ROOT = Path(__file__).resolve().parents[1]
_STORED = 50_000
_PUBLISHERS = 4
_CONSUMERS = 8
_RATE = 500
_CONFIG = """
server: {{port: {port}, workers: 2}}
database: {{url: "{url}"}}
ingest: {{auth: none}}
sink:
  plain: {{type: http_pull, access: none}}
  leased: {{type: http_pull, access: none, lease: 60}}
  filtered: {{type: http_pull, access: none, match: "a.*"}}
  single: {{type: http_pull, access: none, lease: 60, batch_size: 1, start: latest}}
"""


class Connection:
    """A connection to the server, which is kept open between its requests."""

    def __init__(self, port: int) -> None:
        self._http = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def ask(self, method: str, path: str, body: object = None) -> Any:
        """Return the JSON of the answer."""
        content = None if body is None else msgspec.json.encode(body)
        self._http.request(method, path, content, {"Content-Type": "application/json"})
        answer = self._http.getresponse()
        text = answer.read()
        if answer.status >= 300:
            raise RuntimeError(f"{path}: {answer.status} {text!r}")
        return msgspec.json.decode(text)

    def cycle(self, sink: str, query: str = "") -> int:
        """Extract a batch and confirm it; return how many events that were."""
        batch = self.ask("GET", f"/{sink}/extract?{query}")["batch_id"]
        if batch is None:
            return 0
        answer = self.ask("POST", f"/{sink}/mark-processed?batch_id={batch}")
        count: int = answer["marked_count"]
        return count

    def close(self) -> None:
        self._http.close()


class Load:
    """Threads that repeat something until they are stopped; ``seconds`` has each repeat's."""

    def __init__(self, port: int) -> None:
        self.seconds: list[float] = []
        self._port = port
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    def publish(self) -> None:
        """Publish single events at the rate."""
        connection = Connection(self._port)
        due = time.monotonic()
        while not self._stop.is_set():
            began = time.monotonic()
            connection.ask("POST", "/ingest", {"event_type": "a.b"})
            self.seconds.append(time.monotonic() - began)
            due += _PUBLISHERS / _RATE
            time.sleep(max(0.0, due - time.monotonic()))
        connection.close()

    def consume(self) -> None:
        """Extract and confirm single events."""
        connection = Connection(self._port)
        while not self._stop.is_set():
            began = time.monotonic()
            if connection.cycle("single"):
                self.seconds.append(time.monotonic() - began)
        connection.close()

    def start(self, what: Any, count: int) -> None:
        """Start so many threads that do this."""
        self._threads = [threading.Thread(target=what) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End the threads."""
        self._stop.set()
        for thread in self._threads:
            thread.join()


def fill(port: int, count: int) -> None:
    """Publish events in batches of 1,000."""
    connection = Connection(port)
    events = [{"event_type": "a.b", "data": {"text": "x" * 100}}] * 1000
    for _ in range(count // 1000):
        connection.ask("POST", "/ingest", events)
    connection.close()


def batches(port: int, sink: str) -> str:
    """Return how fast one consumer takes all events of a sink."""
    connection = Connection(port)
    began, total, cycles = time.monotonic(), 0, 0
    while count := connection.cycle(sink, "batch_size=500"):
        total += count
        cycles += 1
    seconds = time.monotonic() - began
    connection.close()
    return f"{total / seconds:,.0f} events/s, {seconds / cycles * 1000:.1f} ms a batch"


def percentiles(seconds: Sequence[float]) -> str:
    """Return the median and the 99th percentile, for people."""
    ordered = sorted(seconds)
    median, last = ordered[len(ordered) // 2], ordered[int(len(ordered) * 0.99)]
    return f"p50 {median * 1000:.1f} ms, p99 {last * 1000:.1f} ms"


def singles(port: int, seconds: float) -> None:
    """Print how single cycles and ingest fare beside each other."""
    # The sink's place is at the head when it starts, so that this is all that it has.
    fill(port, 20_000)
    ingest = Load(port)
    ingest.start(ingest.publish, _PUBLISHERS)
    time.sleep(seconds)
    alone, ingest.seconds = ingest.seconds, []
    consumers = Load(port)
    consumers.start(consumers.consume, _CONSUMERS)
    time.sleep(seconds)
    beside, cycles = list(ingest.seconds), list(consumers.seconds)
    consumers.stop()
    ingest.stop()
    print(f"ingest of {len(alone) / seconds:.0f}/s alone: {percentiles(alone)}")
    print(f"ingest of {len(beside) / seconds:.0f}/s beside: {percentiles(beside)}")
    print(f"single cycles: {len(cycles) / seconds:,.0f}/s, {percentiles(cycles)}")


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(prog="python -m bench.pulled")
    parser.add_argument("--url", help="database.url; by default a SQLite file of its own")
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sse-sink-bench-") as name:
        folder, port = Path(name), free_port()
        url = options.url or f"sqlite:///{folder}/events.db"
        (folder / "config.yaml").write_text(_CONFIG.format(port=port, url=url))
        command = python("-m", "gunicorn", "-c", str(_ROOT / "gunicorn.conf.py"), "wsgi:app")
        environment = {
            "SSE_SINK_CONFIG": str(folder / "config.yaml"),
            "PYTHONPATH": os.pathsep.join([str(_ROOT), os.environ.get("PYTHONPATH", "")]),
        }
        with Processes(command, folder, port, environment):
            fill(port, _STORED)
            for sink in ("plain", "leased", "filtered"):
                print(f"{sink}: {batches(port, sink)}", flush=True)
            singles(port, options.seconds)


if __name__ == "__main__":
    main()
