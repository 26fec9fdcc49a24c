"""The extension in an app of others, on a gunicorn whose configuration knows nothing of it."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from faults.test_shutdown import check_closing, is_running, wait_gone
from support.crowd import Crowd
from support.measured import Measured
from support.their_app import TheirGunicorn
from support.waiting import wait_until


@pytest.mark.parametrize("arguments", [[], ["--preload"], ["--reload"]], ids=str)
def test_told_to_end_their_server_ends_its_streams(
    tmp_path: Path, measured: Measured, arguments: Sequence[str]
) -> None:
    with (
        TheirGunicorn(tmp_path, "-k", "gthread", "--threads", "40", *arguments) as server,
        Crowd(server.port, 20) as crowd,
    ):
        last = server.post([{"event_type": "a"}] * 3)[-1]
        crowd.read_until(lambda: all(f"id: {last}\n".encode() in h.raw for h in crowd.heard))
        workers = server.workers()
        began = time.monotonic()
        os.kill(server.pid, signal.SIGTERM)
        crowd.read_to_the_end()
        ended = time.monotonic() - began
        wait_gone([server.pid, *workers])
        gone = time.monotonic() - began
        check_closing(crowd.heard, last)
        name = " ".join(["an app of others", *arguments])
        measured(f"{name}, SIGTERM, 20 streams: ended, gone", f"{ended:.2f} s, {gone:.2f} s")
        assert gone < 4


def test_a_file_that_changed_under_reload_ends_their_streams(
    tmp_path: Path, measured: Measured
) -> None:
    with (
        TheirGunicorn(tmp_path, "-k", "gthread", "--threads", "40", "--reload") as server,
        Crowd(server.port, 20) as crowd,
    ):
        old = server.workers()
        theirs = tmp_path / "theirs.py"
        theirs.write_text(theirs.read_text() + "# changed\n")
        wait_until(lambda: "reloading" in server.log, "the change is noticed")
        began = time.monotonic()
        crowd.read_to_the_end()
        wait_gone(old)
        measured(
            "an app of others, --reload and a file that changed, 20 streams: worker gone",
            f"{time.monotonic() - began:.2f} s",
        )
        check_closing(crowd.heard)
        wait_until(lambda: server.answers("/readyz") == 200, "it serves again")
        with server.stream() as stream:
            assert server.post([{"event_type": "a"}]) == [stream.message_id()]


def test_their_worker_that_is_recycled_ends_its_streams(
    tmp_path: Path, measured: Measured
) -> None:
    arguments = ["-k", "gthread", "--threads", "40", "--max-requests", "60"]
    with TheirGunicorn(tmp_path, *arguments) as server, Crowd(server.port, 20) as crowd:
        old = server.workers()
        while "Autorestarting" not in server.log:
            with contextlib.suppress(OSError):
                server.answers("/readyz")
        began = time.monotonic()
        crowd.read_to_the_end()
        ended = time.monotonic() - began
        wait_gone(old)
        gone = time.monotonic() - began
        wait_until(lambda: server.answers("/readyz") == 200, "its successor answers")
        answers = time.monotonic() - began
        measured(
            "an app of others, --max-requests, 20 streams: ended, gone, answers again",
            f"{ended:.2f} s, {gone:.2f} s, {answers:.2f} s",
        )
        check_closing(crowd.heard)
        assert answers < 5


def test_their_workers_whose_master_was_killed_end_too(tmp_path: Path) -> None:
    server = TheirGunicorn(tmp_path, "-k", "gthread", "--threads", "40", workers=2)
    with contextlib.closing(server), Crowd(server.port, 20) as crowd:
        workers = server.workers()
        os.kill(server.pid, signal.SIGKILL)
        crowd.read_to_the_end()
        wait_gone(workers)
        assert not any(is_running(pid) for pid in workers)
        check_closing(crowd.heard)
