"""Sessions without a server, a log or a sink."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Flask

from flask_sse_sink.stream.admission import Admission
from flask_sse_sink.stream.client import Client
from flask_sse_sink.stream.membership import Membership
from flask_sse_sink.stream.session import Session

APP = Flask("app_of_sessions")


class Calls:
    """Stands for relay, subscribers and watcher; ``names`` is what was called, in order."""

    def __init__(self, fail: BaseException | None = None) -> None:
        self.names: list[str] = []
        self.cursor = -1
        self.later: list[Callable[[], None]] = []
        self._fail = fail

    def join(self, add: Callable[[], None]) -> int:
        self.names.append("join")
        if self._fail is not None:
            raise self._fail
        add()
        return self.cursor

    def call_later(self, call: Callable[[], None]) -> None:
        self.later.append(call)

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *arguments: self.names.append(name)


def session(
    client: Client,
    calls: Calls | None = None,
    admission: Admission | None = None,
    **more: Any,
) -> Session:
    """Return the session of a client; ``more`` are its attributes, such as ``direct``."""
    all: Any = calls or Calls()
    slot = (admission or Admission(1)).admit(client.sink)
    session = Session(APP, client, slot, Membership(all, all, client), all)
    for name, value in more.items():
        setattr(session, name, value)
    return session
