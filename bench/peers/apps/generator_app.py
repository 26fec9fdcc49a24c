"""Server-sent events in plain Flask."""

from __future__ import annotations

import queue
from collections.abc import Iterator

from flask import Flask, Response, request

app = Flask(__name__)
clients: list[queue.Queue[str]] = []


@app.get("/events")
def events() -> Response:
    def stream() -> Iterator[str]:
        waiting: queue.Queue[str] = queue.Queue()
        clients.append(waiting)
        try:
            yield ": connected\n\n"
            while True:
                try:
                    yield f"event: message\ndata: {waiting.get(timeout=30)}\n\n"
                except queue.Empty:
                    yield ": ping\n\n"
        finally:
            clients.remove(waiting)

    return Response(stream(), mimetype="text/event-stream")


@app.post("/publish")
def publish() -> tuple[str, int]:
    text = request.get_data(as_text=True)
    for client in list(clients):
        client.put(text)
    return "", 204
