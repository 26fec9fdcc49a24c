"""The extension in a process that forks, or that has no file descriptors to spare."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
from pathlib import Path

from flask_sse_sink import (
    LogUnavailable,
)
from flask_sse_sink.extension import runtime_of
from support.apps import MakeApp, publish

FORK = """
import os, sys
from flask import Flask
from flask_sse_sink import SSESink
from flask_sse_sink.extension import runtime_of

def streamed(app, sse, event_type):
    response = app.test_client().get("/live/", buffered=False)
    parts = iter(response.iter_encoded())
    first = next(parts)
    id = sse.publish(event_type)
    second = next(parts)
    response.close()
    assert b"connected" in first and f'"{event_type}"'.encode() in second, (first, second)
    return id

app = Flask("a")
sse = SSESink(app, {
    "server": {"max_clients": 2},
    "database": {"url": f"sqlite:///{sys.argv[1]}/events.db"},
    "sink": {"live": {"type": "sse"}},
})
assert streamed(app, sse, "parent.before") == 1
held = app.test_client().get("/live/", buffered=False)
next(iter(held.iter_encoded()))
child = os.fork()
if not child:
    assert not runtime_of(app).is_running
    assert runtime_of(app).sinks["live"].clients == []
    assert runtime_of(app).admission.taken == 0
    assert streamed(app, sse, "child.one") == 2
    assert streamed(app, sse, "child.two") == 3
    sse.close()
    os._exit(7)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
assert streamed(app, sse, "parent.after") == 4
assert len(runtime_of(app).sinks["live"].clients) == 1
held.close()
sse.close()
print("fine")
"""


def test_a_forked_child_begins_anew(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-c", FORK, str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (result.returncode, result.stdout) == (0, "fine\n"), result.stderr


def fds() -> list[str]:
    return sorted(os.listdir("/proc/self/fd"))


def test_a_start_without_descriptors_leaves_nothing(make_app: MakeApp) -> None:
    app = make_app()
    publish(app, "a")
    runtime_of(app).close()
    before = fds()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    failures = 0
    # From none to spare to enough.
    for spare in range(40):
        resource.setrlimit(resource.RLIMIT_NOFILE, (len(before) + spare, hard))
        try:
            runtime_of(app).started()
            break
        except (OSError, LogUnavailable):
            failures += 1
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert fds() == before
        assert not [t for t in threading.enumerate() if t.name.startswith("sse-sink-")]
    assert failures > 3
    assert publish(app, "b") == [2]
