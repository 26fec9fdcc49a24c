"""All slots are taken: who comes is refused at once, and everything else stays quick."""

from __future__ import annotations

import json
import statistics
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from support.crowd import Crowd
from support.measured import Measured
from support.server import Server
from support.stream import SocketStream


def timed(call: Callable[[], object], count: int) -> list[float]:
    """Return how many milliseconds each of the calls took, shortest first."""
    found = []
    for _ in range(count):
        began = time.perf_counter()
        call()
        found.append((time.perf_counter() - began) * 1000)
    return sorted(found)


def show(times: list[float]) -> str:
    return f"p50 {statistics.median(times):.1f} ms, worst of {len(times)} {times[-1]:.1f} ms"


def test_a_full_server_refuses_at_once_and_serves_the_rest(
    tmp_path: Path, measured: Measured
) -> None:
    with (
        Server(tmp_path, {"server": {"workers": 1, "max_clients": 200}}) as server,
        Crowd(server.port, 200) as crowd,
    ):

        def refused() -> None:
            with SocketStream(server.port) as tried:
                assert tried.status == 503
                assert "application/problem+json" in tried.head
                assert 4 <= int(tried.head.partition("retry-after: ")[2].split()[0]) <= 6

        def healthy() -> None:
            assert server.answers("/healthz") == 200

        def ready() -> None:
            assert server.answers("/readyz") == 200

        def post() -> None:
            server.post({"event_type": "a"})

        times = timed(refused, 100)
        measured("all 200 slots taken: refused with 503", show(times))
        assert statistics.median(times) < 50
        stop = threading.Event()

        def storm() -> int:
            count = 0
            while not stop.is_set():
                refused()
                count += 1
            return count

        with ThreadPoolExecutor(8) as pool:
            storming = [pool.submit(storm) for _ in range(8)]
            try:
                for name, call in (("/healthz", healthy), ("/readyz", ready), ("ingest", post)):
                    times = timed(call, 50)
                    measured(f"all slots taken, 8 more knocking all the time: {name}", show(times))
                    assert statistics.median(times) < 250
            finally:
                stop.set()
            assert sum(future.result() for future in storming) > 50
        # Those who are in have noticed nothing.
        (last,) = server.post({"event_type": "the.end"})
        crowd.read_until(lambda: all(b"id: %d\n" % last in heard.raw for heard in crowd.heard))
        assert not any(heard.ended for heard in crowd.heard)
    assert "Traceback" not in server.log, server.log


def test_an_app_with_four_threads_keeps_room_for_the_rest(
    tmp_path: Path, measured: Measured
) -> None:
    """An extension in an app of somebody's own, whose gunicorn knows nothing of it."""
    config = {
        "database": {"url": f"sqlite:///{tmp_path / 'events.db'}"},
        "ingest": {"auth": "none"},
        "sink": {"events_stream": {"type": "sse"}},
    }
    (tmp_path / "theirs.py").write_text(
        "from flask import Flask\n"
        "from flask_sse_sink import SSESink\n"
        "app = Flask('theirs')\n"
        f"sse = SSESink(app, config={config!r})\n"
        "for name in ('readyz', 'healthz'):\n"
        "    app.add_url_rule('/' + name, name, lambda: 'yes')\n"
    )

    settings = tmp_path / "theirs.conf.py"
    settings.write_text("control_socket_disable = True\n")

    def command(port: int) -> list[str]:
        made = [sys.executable, "-m", "gunicorn", "--chdir", str(tmp_path), "-c", str(settings)]
        return [*made, "-b", f"127.0.0.1:{port}", "--threads", "4", "theirs:app"]

    with Server(tmp_path, command=command) as server:
        with Crowd(server.port, 2):
            for _ in range(5):
                with SocketStream(server.port) as refused:
                    assert refused.status == 503
            times = timed(lambda: server.answers("/healthz"), 20)
            measured("--threads 4, no configuration of ours, full: /healthz", show(times))
            assert times[-1] < 2000
        assert "at most 2 streams are admitted" in server.log
        assert "--threads 4" in server.log


def test_a_browser_is_told_to_come_back_where_the_sink_says_so(tmp_path: Path) -> None:
    sink = {"when_full": "retry", "retry": "2s"}
    with (
        Server(
            tmp_path, {"server": {"workers": 1, "max_clients": 1}, "sink": {"events_stream": sink}}
        ) as server,
        server.stream(),
    ):
        waits = set()
        for _ in range(10):
            with SocketStream(server.port) as told:
                assert told.status == 200
                assert "content-type: text/event-stream" in told.head
                raw = told.rest()
                event, data, retry, *end = raw.split(b"\n")
                assert (event, data, end) == (b"event: info", b"data: busy", [b"", b""])
                waits.add(int(retry.removeprefix(b"retry: ")))
        assert min(waits) >= 2000 and max(waits) <= 4000 and len(waits) > 5


def test_the_metrics_are_right_across_workers(tmp_path: Path) -> None:
    sink = {"max_clients": 30}
    with Server(
        tmp_path, {"server": {"workers": 2, "max_clients": 40}, "sink": {"events_stream": sink}}
    ) as server:
        with Crowd(server.port, 20) as crowd:
            events = [{"event_type": "a", "event_id": f"{n}"} for n in range(10)]
            last = server.post(events)[-1]
            assert server.answers("/ingest") == 405
            with server.connection() as again:
                again.send(events)
                assert json.loads(again.answer())["duplicates"] == 10
            crowd.read_until(lambda: all(b"id: %d\n" % last in h.raw for h in crowd.heard))
            expected = {
                'sse_sink_clients{sink="events_stream"}': 20,
                "sse_sink_events_stored_total": 10,
                "sse_sink_events_duplicate_total": 10,
                'sse_sink_deliveries_total{sink="events_stream",way="direct"}': 200,
                'sse_sink_missed_total{sink="events_stream"}': 0,
                'sse_sink_queue_frames{sink="events_stream"}': 0,
            }
            server.wait_for_metrics(expected)
            # Each worker that has clients observes a time; the kernel may give all to one of them.
            owners = {server.owner(each.socket.getsockname()[1]) for each in crowd.heard}
            observed = server.metrics()['sse_sink_delivery_seconds_count{sink="events_stream"}']
            assert observed >= len(owners)
        ended = 'sse_sink_clients_ended_total{reason="closed",sink="events_stream"}'
        gone = {'sse_sink_clients{sink="events_stream"}': 0, ended: 20}
        server.wait_for_metrics(gone)
        # A worker that dies takes nothing of what was counted along.
        server.kill(server.workers()[0])
        server.wait_for_metrics({**expected, **gone})
