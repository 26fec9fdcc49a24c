"""What a batch costs on its way in, step by step: ``python -m bench.ingest [EVENTS [FOLDER]]``.

One process and no HTTP server: the app is called as gunicorn would. Prints microseconds of
processor time an event, each the median of rounds.
"""

from __future__ import annotations

import io
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flask import Flask

from flask_sse_sink import SSESink
from flask_sse_sink import event as envelope
from flask_sse_sink.chunk import Chunk, Frame, release
from flask_sse_sink.extension import engine_of
from flask_sse_sink.log import Appended
from flask_sse_sink.views import ingest

from .system import EVENT_TYPE, new_event

_ROUNDS = 7
_EVENTS_A_ROUND = 4000


def main(events: int, folder: Path) -> None:
    """Measure batches of so many events, with the log in the folder."""
    item = new_event(EVENT_TYPE)
    body = (item if events == 1 else f"[{','.join([item] * events)}]").encode()
    app = Flask("bench")
    config = {"ingest": {"auth": "none"}, "sink": {"events_stream": {"type": "sse"}}}
    SSESink(app, {**config, "database": {"url": f"sqlite:///{folder}/events.db"}})
    engine = engine_of(app)
    relay = engine.started()
    hollow = Flask("hollow")
    hollow.register_blueprint(
        ingest.blueprint(engine.settings.ingest, lambda found: Appended([0] * len(found), 0))
    )

    def encode() -> None:
        release(stored)
        for each in stored:
            Frame.of(each, engine.memory)

    engine.append(envelope.decode(body))
    stored = engine.log.read(relay.cursor - events, events)
    decode = _cost(lambda: envelope.decode(body), events)
    through = _cost(lambda: _post(hollow, body), events)
    append = _cost(lambda: engine.log.append(envelope.decode(body)), events)
    read = _cost(lambda: engine.log.read(relay.cursor - events, events), events)
    encoding = _cost(encode, events)
    frames = [Frame.of(each, engine.memory) for each in stored]
    joining = _cost(lambda: Chunk(frames).code(), events)
    whole = _cost(lambda: _post(app, body), events)
    engine.close()
    rows = {
        "Flask and the view, without the rest": through - decode,
        "msgspec: decode, validate, text of data and meta": decode,
        "SQLite: deduplicate, insert, commit and sync": append - decode,
        "SQLite: read back, in order, for the streams": read,
        "msgspec: the envelope as a frame": encoding,
        "frames joined to a chunk": joining,
        "all of it, by calling the app": whole,
    }
    print(f"{events} events a batch, µs of processor time an event")
    for what, cost in rows.items():
        print(f"  {cost:8.2f}  {what}")


def _cost(step: Callable[[], object], events: int) -> float:
    """Return the microseconds of this thread's processor time for each event of a step."""
    count = max(3, _EVENTS_A_ROUND // _ROUNDS // events)
    found = []
    for _ in range(_ROUNDS):
        began = time.thread_time_ns()
        for _ in range(count):
            step()
        found.append((time.thread_time_ns() - began) / 1000 / count / events)
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
    status: list[str] = []
    answer = app(environ, lambda told, headers, exc_info=None: status.append(told))
    found = b"".join(answer)
    answer.close()
    if not status[0].startswith("201"):
        raise RuntimeError(f"{status[0]}: {json.loads(found)}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir=sys.argv[2] if len(sys.argv) > 2 else None) as made:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 100, Path(made))
