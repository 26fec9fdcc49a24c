"""Apps of others, with the extension in them, served by a gunicorn that knows nothing of it."""

from __future__ import annotations

import contextlib
import json
import sys
import urllib.request
from collections.abc import Sequence
from pathlib import Path

from support.server import Server
from support.settings import Settings, merged
from support.waiting import WAIT_SECONDS, wait_until

HEAD = """
from flask import Flask, Response, abort, g, jsonify, request
from prometheus_client import REGISTRY

from flask_sse_sink import SSESink
from flask_sse_sink.extension import runtime_of

app = Flask("theirs")
sse = SSESink(app)


@app.get("/state")
def state():
    # What is held for streams; all of it is 0 where there are none.
    runtime = runtime_of(app)
    open_streams = REGISTRY.get_sample_value("sse_sink_clients", {"sink": "events_stream"})
    return jsonify(
        taken=runtime.admission.taken,
        clients=len(runtime.sinks["events_stream"].clients),
        counted=int(open_streams or 0),
        watched=runtime.started().watcher.watched if runtime.is_running else 0,
    )

"""

# As many streams as the server admits.
PLACES = 20
NOTHING = {"taken": 0, "clients": 0, "counted": 0, "watched": 0}


class Theirs(Server):
    """A server of the app in ``source``, which follows on :data:`HEAD`."""

    def __init__(
        self,
        folder: Path,
        source: str,
        settings: Settings | None = None,
        arguments: Sequence[str] = (),
    ) -> None:
        (folder / "theirs.py").write_text(HEAD + source)
        (folder / "theirs.conf.py").write_text("control_socket_disable = True\n")

        def command(port: int) -> list[str]:
            words = [sys.executable, "-m", "gunicorn", "--chdir", str(folder)]
            words += ["-c", str(folder / "theirs.conf.py"), "-b", f"127.0.0.1:{port}"]
            words += ["--worker-class", "gthread", "--threads", "40"]
            return [*words, *arguments, "theirs:app"]

        settings = merged({"server": {"max_clients": PLACES}}, settings or {})
        super().__init__(folder, settings, command=command, ready="/state")

    def state(self) -> dict[str, int]:
        """Return what the server holds for streams."""
        with urllib.request.urlopen(self.url("/state"), timeout=WAIT_SECONDS) as answer:
            state: dict[str, int] = json.load(answer)
        return state

    def wait_for_nothing(self) -> None:
        """Wait until the server holds nothing for streams."""
        state: dict[str, int] = {}

        def is_nothing() -> bool:
            state.update(self.state())
            return state == NOTHING

        try:
            wait_until(is_nothing, "nothing is held", 8)
        except AssertionError as error:
            raise AssertionError(f"{error}: {state}") from None

    def all_places_are_free(self, count: int = PLACES) -> None:
        """Open as many streams as the server has places, and close them."""
        with contextlib.ExitStack() as streams:
            for _ in range(count):
                streams.enter_context(self.stream())
        self.wait_for_nothing()
