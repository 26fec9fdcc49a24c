"""The extension in an app of others, on a gunicorn whose configuration knows nothing of it."""

from __future__ import annotations

import sys
from pathlib import Path

from support.server import Server

_APP = """
from flask import Flask
from flask_sse_sink import SSESink

app = Flask("theirs")
config = {
    "database": {"url": "sqlite:///%s/events.db"},
    "ingest": {"auth": "none"},
    "sink": {"events_stream": {"type": "sse"}},
}
sse = SSESink(app, config=config)
app.add_url_rule("/readyz", "readyz", lambda: "yes")
"""


def write_app(folder: Path) -> None:
    """Write the app, which is ``theirs:app``."""
    (folder / "theirs.py").write_text(_APP % folder)


class TheirGunicorn(Server):
    """gunicorn with that app and these arguments."""

    def __init__(self, folder: Path, *arguments: str, workers: int = 1) -> None:
        write_app(folder)
        # A control socket would stand in the home of whoever runs the tests.
        (folder / "theirs.conf.py").write_text("control_socket_disable = True\n")

        def command(port: int) -> list[str]:
            words = [sys.executable, "-m", "gunicorn", "--chdir", str(folder)]
            words += ["-c", str(folder / "theirs.conf.py"), "-b", f"127.0.0.1:{port}"]
            return [*words, "-w", str(workers), *arguments, "theirs:app"]

        super().__init__(folder, command=command)
        self.wait_for_workers(workers)
