"""What the benchmark knows of a system under test."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .processes import Processes
from .publisher import PLACE

ROOT = Path(__file__).resolve().parent.parent
EVENT_TYPE = "user.login"
_DATA = {"mark": f"seq={PLACE};", "ip": "1.2.3.4", "agent": "bench"}


@dataclass(frozen=True)
class Setting:
    """What a server is started for."""

    folder: Path
    """Empty, and the server's own."""
    clients: int
    workers: int | None
    """Worker processes; ``None`` leaves the benchmark's default."""
    project: Path
    """The checkout of this project that is measured."""


@dataclass
class Server:
    """A running server, and how to talk to it."""

    port: int
    processes: Processes
    publish: str
    """The path to POST events to."""
    stream: str
    """The path of the stream."""
    workers: int
    helpers: dict[str, Processes] = field(default_factory=dict)
    """What the server needs beside it, by name; stopped after it."""
    more: Sequence[int] = ()
    """Ports of other nodes; clients are spread over all."""

    def stop(self) -> None:
        """End the server, then its helpers."""
        for each in (self.processes, *self.helpers.values()):
            each.stop()


class System:
    """A system that can be measured: here what most peers have in common."""

    name: str
    about: str
    """What it is and how it runs, in a few words."""
    packages: Sequence[str] = ()
    """Distributions whose versions say what was measured."""
    modules: Sequence[str] = ()
    """What must be installed beside this interpreter."""
    most_clients: int | None = None
    greets = True
    """Whether a stream's first bytes come before its first event."""
    batches = False
    """Whether a POST may hold an array of events."""
    filters = False
    """Whether a stream can ask for some types of events only."""

    def missing(self, project: Path) -> str | None:
        """Return why the system can't be measured here and what to do; ``None`` if it can."""
        absent = [name for name in self.modules if importlib.util.find_spec(name) is None]
        if absent:
            return f"{', '.join(absent)} not installed: pip install -r bench/requirements.txt"
        return None

    def start(self, setting: Setting) -> Server:
        """Return a server that listens.

        :raises RuntimeError: it didn't start; the message holds what it printed.
        """
        raise NotImplementedError

    def item(self, event_type: str) -> str:
        """Return an event's JSON as it is POSTed, with ``PLACE`` for its number.

        It is the envelope that this project makes of an event, so that all send as many bytes.
        """
        return _json(
            {
                "id": 100000,
                "event_id": "evt_e4e4c7edb8434e9297c61d638d8ec2cd",
                "event_type": event_type,
                "entity_id": None,
                "created_at": "2026-01-01T00:00:00.000000+00:00",
                "data": _DATA,
                "source": {"id": 1, "name": "default"},
                "meta": {},
            }
        )


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def new_event(event_type: str) -> str:
    """Return an event as this project's producers POST it."""
    return _json({"event_type": event_type, "data": _DATA})


def app_environment() -> dict[str, str]:
    """Return the environment in which a peer's app is found."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
