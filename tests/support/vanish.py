"""Measures how long a vanished peer holds its place. Runs alone in a network namespace."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from support.crowd import Crowd
from support.server import Server

CLIENTS = 'sse_sink_clients{sink="events_stream"}'
STALLED = 'sse_sink_clients_ended_total{reason="stalled",sink="events_stream"}'


def ip(arguments: str) -> None:
    subprocess.run(["ip", *arguments.split()], check=True)


def main() -> None:
    ip("link set lo up")
    seconds = {}
    with Server(
        Path(sys.argv[1]),
        {
            "server": {"workers": 1, "max_clients": 20},
            "sink": {"events_stream": {"write_timeout": 2}},
        },
    ) as server:
        for name in ("quiet", "with events"):
            with Crowd(server.port, 10, source="127.0.0.9"):
                server.wait_for_metrics({CLIENTS: 10})
                stalled = server.metrics().get(STALLED, 0)
                # What goes to the peers from now on is dropped on its way.
                ip("route add blackhole 127.0.0.9 table local")
                began = time.monotonic()
                if name == "with events":
                    server.post({"event_type": "a"})
                server.wait_for_metrics({CLIENTS: 0, STALLED: stalled + 10})
                seconds[name] = time.monotonic() - began
                ip("route del blackhole 127.0.0.9 table local")
        assert "Traceback" not in server.log, server.log
    print(json.dumps(seconds))


main()
