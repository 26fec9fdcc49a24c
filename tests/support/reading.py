"""What a client must have read: everything that was published, whatever happened meanwhile."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flask_sse_sink.log.sqlite.log import SQLiteLog
from flask_sse_sink.submission import new_event
from support.processes import free_port
from support.readers import Client, Read
from support.server import Server

DATA: list[Any] = [
    {},
    None,
    "Grüße, 世界, Привет, שלום",
    "\U0001f600 \U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea",
    "line\u2028paragraph\u2029next\x85end\x0b\x0c\x1c\x1d\x1e.",
    "a\nb\r\nc\rd\n\ndata: x\nid: 7\n\nevent: y",
    ": a comment? data: no\ttab \\ \" ' </script> \x00 \ufeff",
    [1, -0.5, 1e300, True, {"deep": [[["x"]]]}],
    "long " + "0123456789abcdefghi\u00e4" * 5_000,
    "the end",
]

# How many events are stored while no server runs; they can only be replayed.
MEANWHILE = 700


def check_reads_all(server: Server, client: Client, folder: Path) -> None:
    """Fail unless the client reads from a running server just what is published."""
    with client(server.url(), folder) as events:
        name, data, _ = next(events)
        assert (name, data) == ("info", "connected")
        ids = server.post([{"event_type": "a.b", "data": each} for each in DATA[:4]])
        for each in DATA[4:]:
            ids += server.post({"event_type": "a.b", "data": each})
        for id, expected in zip(ids, DATA, strict=True):
            name, data, last_event_id = next(events)
            assert (name, last_event_id) == ("message", str(id))
            envelope = json.loads(data)
            assert envelope["id"] == id
            assert envelope["data"] == expected


@dataclass(frozen=True)
class Restart:
    """What a client read while its server ended and another took its place."""

    ids: list[int]
    #: The data of the `info` events, but for the `connected` that came first.
    words: list[str]
    #: From when the second server was ready until the client had all events.
    seconds: float

    def check_ids(self) -> None:
        """Fail unless the client has all events, once each and in order."""
        assert self.ids == list(range(1, MEANWHILE + 7))

    def check_words_behind_a_proxy(self) -> None:
        """Fail unless a proxy told the client `busy` until there was a server again."""
        assert self.words[0] == "closing"
        assert self.words[-1] == "connected"
        assert set(self.words[1:-1]) == {"busy"}


#: Runs what stands before a server, and yields the URL of the stream there.
Front = Callable[[Server], contextlib.AbstractContextManager[str]]


@contextlib.contextmanager
def no_proxy(server: Server) -> Iterator[str]:
    """Yield the URL of the server's own stream."""
    yield server.url()


class _Reading:
    """Takes events from a client, and keeps ids and words apart."""

    def __init__(self, events: Iterator[Read]) -> None:
        self._events = events
        self.ids: list[int] = []
        self.words: list[str] = []

    def read_until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            name, data, last_event_id = next(self._events)
            if name == "message":
                self.ids.append(int(last_event_id))
            else:
                assert name == "info"
                self.words.append(data)


def restart(
    client: Client,
    client_folder: Path,
    folder: Path,
    front: Front = no_proxy,
    query: str = "",
) -> Restart:
    """Have the client read through a restart of the server in ``folder``.

    The second server starts once the client has been told that the first is gone: by that one's
    `closing`, or, behind a proxy, by its `busy`.
    """
    settings = {
        "server": {"port": free_port()},
        "sink": {"events_stream": {"replay": True, "retry": 0.2, "cors_origins": ["*"]}},
    }
    last_word = "closing" if front is no_proxy else "busy"
    three = [{"event_type": "a"}] * 3
    with contextlib.ExitStack() as stack:
        with Server(folder, settings) as server:
            url = stack.enter_context(front(server)) + query
            events = stack.enter_context(client(url, client_folder))
            assert next(events)[:2] == ("info", "connected")
            reading = _Reading(events)
            server.post(three)
            reading.read_until(lambda: len(reading.ids) == 3)
        reading.read_until(lambda: reading.words[-1:] == [last_word])
        log = SQLiteLog(folder / "events.db")
        log.append([new_event("a") for _ in range(MEANWHILE)])
        log.close()
        with Server(folder, settings) as server:
            began = time.monotonic()
            server.post(three)
            reading.read_until(lambda: len(reading.ids) == MEANWHILE + 6)
            seconds = time.monotonic() - began
    return Restart(reading.ids, reading.words, seconds)
