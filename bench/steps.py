"""What each step of ingest costs, by calling the app as gunicorn does; there is no HTTP server.

    python -P bench/steps.py BATCH EVENT

prints microseconds of processor time an event as JSON, each the median of several rounds. It
imports nothing of the benchmark, so it runs over the package of any checkout, with that checkout
in ``PYTHONPATH``. Its log is in the working folder.
"""

from __future__ import annotations

import io
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flask import Flask

from flask_sse_sink import SSESink
from flask_sse_sink import submission as events
from flask_sse_sink.extension import runtime_of
from flask_sse_sink.log import Appended
from flask_sse_sink.stream import frame
from flask_sse_sink.stream.chunk import Chunk
from flask_sse_sink.stream.delivery import Delivery
from flask_sse_sink.web import ingest

_ROUNDS = 7
_EVENTS_A_ROUND = 4000


def main(batch: int, item: str) -> dict[str, float]:
    """Return what each step costs with so many events in a POST."""
    body = (item if batch == 1 else f"[{','.join([item] * batch)}]").encode()
    app = Flask("bench")
    config = {"ingest": {"auth": "none"}, "sink": {"events_stream": {"type": "sse"}}}
    url = f"sqlite:///{Path.cwd()}/events.db"
    SSESink(app, {**config, "database": {"url": url}})
    runtime = runtime_of(app)
    relay = runtime.started().relay
    # The same view over a log that stores nothing.
    view_alone = Flask("view_alone")
    view_alone.register_blueprint(
        ingest.blueprint(
            runtime.settings.ingest,
            lambda events: Appended([0] * len(events), 0),
            runtime.access,
        )
    )

    def read_back() -> Delivery:
        return Delivery(runtime.log.read(relay.cursor - batch, batch), runtime.memory)

    def make_frames() -> None:
        for id, envelope in envelopes:
            frame.message(id, envelope)

    runtime.publish(events.decode(body))
    envelopes = runtime.log.read(relay.cursor - batch, batch)
    stored = read_back()
    frames = [stored.frame(n) for n in range(batch)]
    decode = _cost(lambda: events.decode(body), batch)
    through = _cost(lambda: _post(view_alone, body), batch)
    append = _cost(lambda: runtime.log.append(events.decode(body)), batch)
    steps = {
        "view": through - decode,
        "decode": decode,
        "store": append - decode,
        "read back": _cost(read_back, batch),
        "encode": _cost(make_frames, batch),
        "join": _cost(lambda: Chunk(frames).encode(), batch),
        "all": _cost(lambda: _post(app, body), batch),
    }
    runtime.close()
    return steps


def _cost(step: Callable[[], object], batch: int) -> float:
    """Return the microseconds of this thread's processor time for each event of a step."""
    count = max(3, _EVENTS_A_ROUND // _ROUNDS // batch)
    found = []
    for _ in range(_ROUNDS):
        began = time.thread_time_ns()
        for _ in range(count):
            step()
        found.append((time.thread_time_ns() - began) / 1000 / count / batch)
    return statistics.median(found)


def _post(app: Flask, body: bytes) -> None:
    environ: dict[str, Any] = {
        "REQUEST_METHOD": "POST",
        "PATH_INFO": "/ingest",
        "QUERY_STRING": "",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "localhost",
        "CONTENT_TYPE": "application/json",
        "CONTENT_LENGTH": str(len(body)),
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.url_scheme": "http",
    }
    statuses: list[str] = []

    def start_response(
        status: str, headers: list[tuple[str, str]], exc_info: object = None, /
    ) -> Callable[[bytes], object]:
        statuses.append(status)
        return io.BytesIO().write

    answer = app(environ, start_response)
    text = b"".join(answer)
    if hasattr(answer, "close"):
        answer.close()
    if not statuses[0].startswith("201"):
        raise RuntimeError(f"{statuses[0]}: {json.loads(text)}")


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]), sys.argv[2])))
