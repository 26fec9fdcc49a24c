"""A system that is measured: how it is started, reached and watched."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .processes import Processes

ROOT = Path(__file__).resolve().parent.parent
EVENT_TYPE = "user.login"
PLACE = "00000000"
"""Stands in an event's text where the event's number goes."""
THERE = " there"
"""Ends the label of the other checkout's system, where two checkouts are compared."""
_DATA = {"mark": f"seq={PLACE};", "ip": "1.2.3.4", "agent": "bench"}


@dataclass(frozen=True)
class Setting:
    """What a server is started for."""

    folder: Path
    """Empty, and the server's own."""
    clients: int
    workers: int | None = None
    """Worker processes; ``None`` leaves the benchmark's default."""
    sink: Mapping[str, float | bool] = field(default_factory=dict)
    """Settings of this project's sink."""


@dataclass(frozen=True, kw_only=True)
class Server:
    """A running server: its addresses and its processes."""

    nodes: Sequence[Processes]
    """The first one is POSTed to; clients are spread over all."""
    publish: str = "/publish"
    """The path that events are POSTed to."""
    stream: str = "/events"
    """The path of the stream."""
    workers: int = 1
    """Worker processes of each node."""
    helpers: Mapping[str, Processes] = field(default_factory=dict)
    """What the server needs beside it, by name: Redis."""

    @property
    def ports(self) -> list[int]:
        return [each.port for each in self.nodes]

    def cpu_seconds(self) -> float:
        """Return the processor time that all nodes have used so far."""
        return sum(each.cpu_seconds() for each in self.nodes)

    def restart(self) -> None:
        """Restart the workers of the first node."""
        self.nodes[0].restart()

    def pss_kib(self) -> float:
        """Return the proportional set size of all nodes together."""
        return sum(each.pss_kib() for each in self.nodes)


class Unsuited(Exception):
    """The system can't be measured with a scenario; the message says why."""


class System:
    """A system that can be measured: here what most peers have in common."""

    name: str
    """Its name in the lists of scenarios."""
    about: str
    """What it is and how it runs, in a few words."""
    packages: Sequence[str] = ()
    """Distributions whose versions are written into the result."""
    modules: Sequence[str] = ()
    """Modules that must be installed beside this interpreter."""
    most_clients: int | None = None
    greets = True
    """Whether a stream's first bytes come before its first event."""
    there = False
    """Whether it is the other checkout, of two that are compared."""

    @property
    def label(self) -> str:
        """Its name in results."""
        return self.name + THERE if self.there else self.name

    def missing(self) -> str | None:
        """Return why the system can't be measured here and what to do; ``None`` if it can."""
        absent = [name for name in self.modules if importlib.util.find_spec(name) is None]
        if absent:
            return f"{', '.join(absent)} not installed: pip install -r bench/requirements.txt"
        return None

    def start(self, setting: Setting, stack: contextlib.ExitStack) -> Server:
        """Return a server that listens; closing the stack ends it.

        :raises RuntimeError: it didn't start; the message holds what it printed.
        """
        raise NotImplementedError

    def steps(self, batch: int, folder: Path) -> dict[str, float]:
        """Return what each step of ingest costs: microseconds of processor time an event."""
        raise NotImplementedError

    def item(self, event_type: str, entity_id: str | None = None) -> str:
        """Return an event's JSON as it is POSTed, with ``PLACE`` for its number.

        It is the envelope that this project makes of an event, so that all systems send about
        as many bytes.
        """
        return _json(
            {
                "id": 100000,
                "event_id": "evt_e4e4c7edb8434e9297c61d638d8ec2cd",
                "event_type": event_type,
                "entity_id": entity_id,
                "created_at": "2026-01-01T00:00:00.000000+00:00",
                "data": _DATA,
                "source": {"id": 1, "name": "default"},
                "meta": {},
            }
        )


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"))


def new_event(event_type: str, **more: str | None) -> str:
    """Return an event as this project's producers POST it; ``None`` leaves a key out."""
    given = {name: value for name, value in more.items() if value is not None}
    return _json({"event_type": event_type, **given, "data": _DATA})


def python_environment(*folders: Path) -> dict[str, str]:
    """Return an environment in which Python imports from the folders first."""
    path = os.pathsep.join(filter(None, [*map(str, folders), os.environ.get("PYTHONPATH")]))
    return {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}


class Usage:
    """The processor time that a server, its helpers and this process use from now on."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._cpu = server.cpu_seconds()
        self._helpers = {name: each.cpu_seconds() for name, each in server.helpers.items()}
        # Last, and first when it stops, because looking for processes takes time.
        self._own = time.process_time()
        self._began = time.monotonic()

    def stop(self) -> None:
        """Take the figures."""
        self.own = time.process_time() - self._own
        self.seconds = time.monotonic() - self._began
        self.server = self._server.cpu_seconds() - self._cpu
        self.helpers = {
            name: each.cpu_seconds() - self._helpers[name]
            for name, each in self._server.helpers.items()
        }
