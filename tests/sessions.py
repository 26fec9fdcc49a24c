"""Sessions without a server, a log or a sink."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Flask

from flask_sse_sink.stream.admission import Slots
from flask_sse_sink.stream.client import Client
from flask_sse_sink.stream.session import Session, Subscription

APP = Flask("app_of_sessions")


class Calls:
    """Stands for relay, sink and watcher; ``names`` is what was called of them, in order."""

    def __init__(self, fail: BaseException | None = None) -> None:
        self.names: list[str] = []
        self.cursor = -1
        self.later_calls: list[Callable[[], None]] = []
        self._fail = fail

    def join(self, add: Callable[[], None]) -> int:
        self.names.append("join")
        if self._fail is not None:
            raise self._fail
        add()
        return self.cursor

    def later(self, call: Callable[[], None]) -> None:
        self.later_calls.append(call)

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *arguments: self.names.append(name)


def session(
    client: Client,
    calls: Calls | None = None,
    slots: Slots | None = None,
    **more: Any,
) -> Session:
    """Return the session of a client; ``more`` are its attributes, such as ``lane``."""
    there: Any = calls or Calls()
    slot = (slots or Slots(1)).take(client.sink)
    made = Session(APP, client, Subscription(there, there, client), slot, there)
    for name, value in more.items():
        setattr(made, name, value)
    return made
