"""Peers that take nothing are cut in time, and nobody else feels them."""

from __future__ import annotations

import re
import statistics
import threading
import time
from pathlib import Path

import psutil
import pytest

from support.crowd import Crowd
from support.measured import Measured
from support.server import Server

pytestmark = pytest.mark.usefixtures("both_ways")

REASON = 'sse_sink_clients_ended_total{{reason="{}",sink="events_stream"}}'
FILL = "x" * 20_000


def latencies(server: Server, crowd: Crowd) -> list[float]:
    """Return the milliseconds from a POST until the last of the crowd has its event."""
    found = []
    for _ in range(60):
        began = time.perf_counter()
        (id,) = server.post({"event_type": "a", "data": FILL})
        mark = b"id: %d\n" % id
        crowd.read_until(lambda mark=mark: all(mark in h.raw[-60_000:] for h in crowd.heard))  # type: ignore[misc]
        found.append((time.perf_counter() - began) * 1000)
        for heard in crowd.heard:
            heard.raw = heard.raw[-60_000:]
    return sorted(found)


def test_stalled_readers_cost_others_nothing_and_are_cut(
    tmp_path: Path, measured: Measured
) -> None:
    sink = {"write_timeout": 3, "queue_size": 100, "queue_bytes": "1MiB"}
    with Server(
        tmp_path, {"server": {"workers": 1, "max_clients": 100}, "sink": {"events_stream": sink}}
    ) as server:
        with Crowd(server.port, 20) as quick:
            without = latencies(server, quick)
            process = psutil.Process(server.workers()[0])
            before = process.memory_info().rss
            with Crowd(server.port, 20, receive_buffer=4096):
                # Full up the kernel's buffers, so that writing threads get stuck.
                for _ in range(40):
                    server.post([{"event_type": "fill", "data": FILL}] * 10)
                    quick.read()
                stuck = time.monotonic()
                beside = latencies(server, quick)
                grown = (process.memory_info().rss - before) / 2**20
                cut = REASON.format("stalled")
                server.wait_for_metrics({cut: 20}, while_waiting=quick.read)
                seconds = time.monotonic() - stuck
            p50s = [statistics.median(times) for times in (without, beside)]
            measured("20 others' slowest delivery, none stalled, p50", f"{p50s[0]:.1f} ms")
            measured("20 others' slowest delivery beside 20 stalled, p50", f"{p50s[1]:.1f} ms")
            measured("20 stalled, queue_bytes 1 MiB: worker's memory grew", f"{grown:.0f} MiB")
            measured("stalled, write_timeout 3 s: cut after the flood", f"{seconds:.1f} s")
            assert p50s[1] < 5 * p50s[0] + 5
            assert grown < 20 * 2 + 60
            assert seconds < 3 + 6
            assert not any(heard.ended for heard in quick.heard)
    assert "Traceback" not in server.log, server.log


def test_a_reader_that_takes_a_little_all_the_time_is_not_cut(tmp_path: Path) -> None:
    sink = {"write_timeout": 2, "queue_size": 100000, "queue_bytes": "64MiB"}
    with Server(
        tmp_path, {"server": {"workers": 1, "max_clients": 10}, "sink": {"events_stream": sink}}
    ) as server:
        with server.stream(receive_buffer=131072) as slow:
            for _ in range(10):
                last = server.post([{"event_type": "big", "data": "x" * 100_000}] * 9)[-1]
            pause, began, id = threading.Event(), time.monotonic(), 0
            while time.monotonic() - began < 5 or id < last:
                id = slow.message_id()
                if time.monotonic() - began < 5:
                    pause.wait(0.1)
        text = server.metrics_text()
        assert not re.search(r'reason="stalled".* [1-9]', text), text
    assert "Traceback" not in server.log, server.log
