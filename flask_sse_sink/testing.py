"""For the tests of apps: collects what the sinks stream, without a server.

The fixture ``sse_events`` of the pytest plugin is an :class:`SSEEvents` of the fixture ``app``.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, NamedTuple

import msgspec
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from . import signals
from .extension import runtime_of
from .stream.client import Client
from .submission import new_event

#: For how many seconds an event is waited for, unless told otherwise.
TIMEOUT_SECONDS = 5.0

_COLLECTED = "collected"
_TOO_LATE = "too late"


class ReceivedFrame(NamedTuple):
    """One frame of a stream: its event's name (``message``, ``info``…), data, and id or ``""``."""

    event: str
    data: str
    id: str


class Collected(list[Any]):
    """The messages of a stream, each decoded from JSON: a list, whole when its context has ended.

    ``frames`` are all frames, ``info`` and ``missed`` among them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.frames: list[ReceivedFrame] = []

    def add(self, frame: ReceivedFrame) -> None:
        """Add a frame, and its data where it is a message."""
        self.frames.append(frame)
        if frame.event == "message":
            self.append(msgspec.json.decode(frame.data))


class SSEEvents:
    """Publishes to an app's log, and collects what its sinks stream.

    A context: at its end the app's streams and threads end, too.
    """

    def __init__(self, app: Flask) -> None:
        self._app = app
        # An app without the extension is told at once.
        self._runtime = runtime_of(app)

    def __enter__(self) -> SSEEvents:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._runtime.close()

    def publish(self, event_type: str, data: Any = None, **fields: Any) -> int:
        """Store an event and stream it; return its id.

        The fields are those of :meth:`SSESink.publish <flask_sse_sink.SSESink.publish>`.

        :raises InvalidEvent: a field is wrong.
        """
        event = new_event(event_type, {} if data is None else data, **fields)
        return self._runtime.publish([event]).ids[0]

    @contextmanager
    def collect(
        self,
        url: str,
        count: int = 1,
        *,
        headers: Mapping[str, str] | None = None,
        client: FlaskClient | None = None,
        timeout: float = TIMEOUT_SECONDS,
    ) -> Iterator[Collected]:
        """Open a stream, and collect its messages until there are ``count``.

        The stream is open when the context begins, so that what is published in it is not
        missed. Where the context ends, ``count`` messages are waited for, for ``timeout`` seconds
        at most. Those that wait to be written by then are collected, too: with a ``count`` of 0,
        all that the context's code published. ``client`` makes the request, with the cookies
        that it has; by default it is a new test client of the app.

        :raises AssertionError: the sink refused the stream, or it ended before, or not in time.
        """
        opened: list[Client] = []

        def on_connected(app: Flask, sink: str, client: Client, **_: Any) -> None:
            opened.append(client)

        with signals.client_connected.connected_to(on_connected, sender=self._app):
            made = client if client is not None else self._app.test_client()
            response = made.get(url, headers=headers, buffered=False)
            try:
                frames = _frames(_checked(response, url).iter_encoded())
                collected = Collected()
                collected.add(_first(frames, url))
            except BaseException:
                response.close()
                raise
        try:
            yield collected
            _collect(frames, opened[0], collected, count, timeout)
            if len(collected) < count:
                raise AssertionError(_too_few(collected, count, url, opened[0].reason, timeout))
        finally:
            response.close()


def _checked(response: TestResponse, url: str) -> TestResponse:
    if response.mimetype != "text/event-stream":
        raise AssertionError(
            f"{url} gave no stream but {response.status}: {response.get_data(as_text=True)[:500]}"
        )
    return response


def _first(frames: Iterator[ReceivedFrame], url: str) -> ReceivedFrame:
    frame = next(frames, None)
    if frame is None:
        raise AssertionError(f"{url} gave a stream that ended before its first frame")
    return frame


def _collect(
    frames: Iterator[ReceivedFrame],
    client: Client,
    collected: Collected,
    count: int,
    timeout: float,
) -> None:
    """Collect frames until there are so many messages, and all that wait then."""
    timer = threading.Timer(timeout, client.end, [_TOO_LATE])
    timer.start()
    try:
        while len(collected) < count and (frame := next(frames, None)) is not None:
            collected.add(frame)
        client.end(_COLLECTED)
        for frame in frames:
            collected.add(frame)
    finally:
        timer.cancel()
        timer.join()


def _too_few(collected: Collected, count: int, url: str, reason: str, timeout: float) -> str:
    cause = f"{timeout:g} seconds" if reason == _TOO_LATE else f"the stream ended ({reason})"
    return (
        f"{url}: {len(collected)} of {count} messages came before {cause}; "
        f"its frames: {collected.frames}"
    )


def _frames(chunks: Iterable[bytes]) -> Iterator[ReceivedFrame]:
    """Split a stream into frames: lines of ``name: value``, then an empty one."""
    unread = b""
    for chunk in chunks:
        *whole, unread = (unread + chunk).split(b"\n\n")
        for frame in whole:
            yield _frame(frame.decode())


def _frame(text: str) -> ReceivedFrame:
    fields: dict[str, list[str]] = {}
    for line in text.split("\n"):
        name, _, value = line.partition(": ")
        fields.setdefault(name, []).append(value)
    return ReceivedFrame(
        fields.get("event", ["message"])[-1],
        "\n".join(fields.get("data", [])),
        fields.get("id", [""])[-1],
    )
