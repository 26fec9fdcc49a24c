"""Nothing grows, however many clients come and go."""

from __future__ import annotations

import os
import time
from pathlib import Path

import psutil

from support.crowd import Crowd
from support.measured import Measured
from support.server import Server

CLIENTS = 'sse_sink_clients{sink="events_stream"}'
COUNT = int(os.environ.get("SOAK_CLIENTS", "20000"))


def test_twenty_thousand_clients_leave_nothing_behind(tmp_path: Path, measured: Measured) -> None:
    with Server(tmp_path, {"server": {"workers": 1, "max_clients": 200}}) as server:
        process = psutil.Process(server.workers()[0])

        def visits(count: int) -> None:
            for _ in range(count // 100):
                with Crowd(server.port, 100):
                    pass
                server.wait_for_metrics({CLIENTS: 0})

        def state() -> tuple[int, int, float]:
            return process.num_threads(), process.num_fds(), process.memory_info().rss / 2**20

        # Its pool keeps each thread that it ever needed at once: let it have them all.
        with Crowd(server.port, 200):
            pass
        server.wait_for_metrics({CLIENTS: 0})
        visits(2000)
        before = state()
        began = time.monotonic()
        visits(COUNT)
        rate = COUNT / (time.monotonic() - began)
        after = state()
        names = ("threads", "descriptors", "memory, MiB")
        for name, one, other in zip(names, before, after, strict=True):
            shown = f"{one:.0f} before, {other:.0f} after"
            measured(f"{COUNT:,} clients came and went: {name}", shown)
        measured(f"{COUNT:,} clients came and went", f"{rate:.0f}/s")
        assert after[0] <= before[0] + 50
        assert after[1] <= before[1] + 5
        assert after[2] <= before[2] + 10
    assert "Traceback" not in server.log, server.log
