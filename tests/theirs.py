"""Apps of others, with the extension in them, served by a gunicorn that knows nothing of it."""

from __future__ import annotations

import json
import sys
import urllib.request
from pathlib import Path
from typing import Any

from gunicorn_server import WAIT_SECONDS, Server, wait_until

HEAD = """
from flask import Flask, Response, abort, g, jsonify, request
from prometheus_client import REGISTRY

from flask_sse_sink import SSESink
from flask_sse_sink.extension import engine_of

app = Flask("theirs")
sse = SSESink(app)


@app.get("/state")
def state():
    # What is held for streams; all of it is 0 where there are none.
    engine = engine_of(app)
    open_streams = REGISTRY.get_sample_value("sse_sink_clients", {"sink": "events_stream"})
    return jsonify(
        taken=engine.slots.taken,
        clients=len(engine.sinks["events_stream"].clients),
        counted=int(open_streams or 0),
        watched=len(engine.watcher._watched) if engine.relay else 0,
    )

"""

NOTHING = {"taken": 0, "clients": 0, "counted": 0, "watched": 0}


class Theirs(Server):
    """A server of the app in ``source``, which follows on :data:`HEAD`."""

    def __init__(
        self, folder: Path, source: str, *arguments: str, max_clients: int = 20, **more: Any
    ) -> None:
        (folder / "theirs.py").write_text(HEAD + source)
        (folder / "theirs.conf.py").write_text("control_socket_disable = True\n")

        def command(port: int) -> list[str]:
            made = [sys.executable, "-m", "gunicorn", "--chdir", str(folder)]
            made += ["-c", str(folder / "theirs.conf.py"), "-b", f"127.0.0.1:{port}"]
            made += ["--worker-class", "gthread", "--threads", "40"]
            return [*made, *arguments, "theirs:app"]

        super().__init__(folder, command=command, max_clients=max_clients, ready="/state", **more)

    def state(self) -> dict[str, int]:
        """Return what the server holds for streams."""
        with urllib.request.urlopen(self.url("/state"), timeout=WAIT_SECONDS) as answer:
            found: dict[str, int] = json.load(answer)
        return found

    def wait_for_nothing(self) -> None:
        """Wait until the server holds nothing for streams."""
        last: list[dict[str, int]] = []

        def is_nothing() -> bool:
            last[:] = [self.state()]
            return last[0] == NOTHING

        try:
            wait_until(is_nothing, "nothing is held", 8)
        except AssertionError as error:
            raise AssertionError(f"{error}: {last}") from None

    def all_places_are_free(self, count: int = 20) -> None:
        """Open as many streams as the server has places, and close them."""
        opened = []
        try:
            for _ in range(count):
                opened.append(self.stream())
        finally:
            for each in opened:
                each.close()
        self.wait_for_nothing()

    def __enter__(self) -> Theirs:
        return self
