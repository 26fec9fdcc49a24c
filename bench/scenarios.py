"""The scenarios: the load that each one puts on a system, and the systems that it suits."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

Kind = Literal["ingest", "connect", "memory", "idle", "fanout", "replay", "steps"]

WINDOW = 8
"""Requests on their way at once in a flat-out scenario: so few that no peer's queue overflows."""

OURS = ("sse-sink", "sse-sink-queue")
PEERS = (*OURS, "nchan", "sse-starlette", "django-eventstream", "flask-sse", "generator")
LOGS = ("sse-sink", "redis-always", "redis-1", "redis-2", "redis-4")
_MANY = tuple(name for name in PEERS if name != "flask-sse")
"""The systems that can hold more than 1,000 clients."""

COMPARED = (
    "ingest-1x8",
    "ingest-100x8",
    "connect-1000",
    "memory-1000",
    "fanout-1000-20",
    "fanout-1000-flat",
    "batch-1000",
)
"""The scenarios in which two checkouts are compared, if no others are asked for."""

STORED = 1_000_000
REPLAYING = 10


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One measurement."""

    name: str
    kind: Kind
    clients: int = 0
    rate: float = 0
    """Requests a second; 0 is flat out: a window of requests is on its way."""
    batch: int = 0
    """Events in a request's array; 0 sends one event without an array."""
    filters: int = 0
    """Different ``event_type`` filters, given to the clients in turn; 0 is none."""
    others: int = 0
    """Clients, among ``clients``, whose filters differ and match no event."""
    producers: int = 1
    """Connections that POST to each node, of an ingest scenario."""
    seconds: float = 4
    stored: int = 0
    """Events that the log holds before the scenario begins."""
    events: int = 0
    """Events that a replay goes over."""
    rare: bool = False
    """Whether the replay asks only for the type of every hundredth event."""
    replaying: int = 0
    """More clients, which replay the whole log again and again meanwhile."""
    systems: tuple[str, ...] = PEERS
    """The systems that can be measured with it."""
    default: tuple[str, ...] = ()
    """Those of them that a run without options measures with it."""

    @property
    def server(self) -> tuple[object, ...]:
        """A key: scenarios with equal ones are measured on one server, one after the other."""
        if self.kind == "steps":
            return (self.name,)
        if self.stored:
            return ("stored", self.stored)
        return (max(self.clients, 1), self.filters, self.others)


def groups(scenarios: Sequence[Scenario]) -> list[list[Scenario]]:
    """Return the scenarios in groups that share a server, in the order of each first one."""
    found: dict[tuple[object, ...], list[Scenario]] = {}
    for each in scenarios:
        found.setdefault(each.server, []).append(each)
    return list(found.values())


def named(names: Sequence[str]) -> list[Scenario]:
    """Return the scenarios of these names, or all those whose names begin so.

    :raises KeyError: no scenario has such a name.
    """
    found: list[Scenario] = []
    for name in names:
        exact = [each for each in SCENARIOS if each.name == name]
        these = exact or [each for each in SCENARIOS if each.name.startswith(name)]
        if not these:
            raise KeyError(name)
        found += [each for each in these if each not in found]
    return found


def _ingest() -> Iterator[Scenario]:
    for batch, systems in ((0, PEERS), (100, OURS)):
        for producers in (1, 8):
            few = OURS if batch else ("sse-sink", "nchan", "sse-starlette")
            yield Scenario(
                name=f"ingest-{batch or 1}x{producers}",
                kind="ingest",
                batch=batch,
                producers=producers,
                seconds=2,
                systems=systems,
                default=few if producers == 8 else (),
            )


def _fanout(
    clients: int, systems: tuple[str, ...], by_default: dict[int, tuple[str, ...]]
) -> Iterator[Scenario]:
    for rate in (1, 20, 200, 0):
        yield Scenario(
            name=f"fanout-{clients}-{rate or 'flat'}",
            kind="fanout",
            clients=clients,
            rate=rate,
            seconds=8 if rate == 1 else 4,
            systems=systems,
            default=by_default.get(rate, ()),
        )
    yield Scenario(
        name=f"batch-{clients}",
        kind="fanout",
        clients=clients,
        batch=100,
        seconds=3,
        systems=OURS,
        default=OURS if clients == 1000 else (),
    )


def _clients(
    clients: int, systems: tuple[str, ...], default: tuple[str, ...]
) -> Iterator[Scenario]:
    for kind in ("connect", "memory"):
        yield Scenario(
            name=f"{kind}-{clients}", kind=kind, clients=clients, systems=systems, default=default
        )


def _filters() -> Iterator[Scenario]:
    for filters in (1, 20, 200):
        yield Scenario(
            name=f"filters-{filters}",
            kind="fanout",
            clients=999 + filters,
            filters=1,
            others=filters - 1,
            rate=20,
            systems=OURS,
            default=OURS,
        )
        yield Scenario(
            name=f"spread-{filters}",
            kind="fanout",
            clients=1000,
            filters=filters,
            rate=50,
            seconds=3,
            systems=OURS,
        )


def _nodes() -> Iterator[Scenario]:
    for name, rate, batch, seconds in (("20", 20, 0, 5.0), ("batch", 0, 100, 4.0)):
        yield Scenario(
            name=f"nodes-{name}",
            kind="fanout",
            clients=100,
            rate=rate,
            batch=batch,
            seconds=seconds,
            systems=LOGS,
        )
    for batch in (0, 100):
        yield Scenario(
            name=f"nodes-ingest-{batch or 1}",
            kind="ingest",
            batch=batch,
            producers=4,
            systems=LOGS,
        )


def _replay() -> Iterator[Scenario]:
    logs = ("sse-sink", "redis-1")
    for name, events, rare in (
        ("100000", 100_000, False),
        (f"{STORED}", STORED, False),
        ("rare", STORED, True),
    ):
        yield Scenario(
            name=f"replay-{name}",
            kind="replay",
            clients=1,
            events=events,
            rare=rare,
            stored=STORED,
            systems=logs,
        )
    for replaying in (0, REPLAYING):
        beside = f"-beside-{replaying}" if replaying else ""
        for name, rate, batch, seconds in (("20", 20, 0, 10.0), ("batch", 0, 100, 3.0)):
            yield Scenario(
                name=f"replay-live-{name}{beside}",
                kind="fanout",
                clients=100,
                rate=rate,
                batch=batch,
                seconds=seconds,
                stored=STORED,
                replaying=replaying,
                systems=logs,
            )


def _steps() -> Iterator[Scenario]:
    for batch in (1, 100):
        yield Scenario(name=f"steps-{batch}", kind="steps", batch=batch, systems=("sse-sink",))


SCENARIOS = (
    *_ingest(),
    Scenario(name="latency", kind="fanout", clients=1, rate=100, seconds=2, default=PEERS),
    *_fanout(100, PEERS, {}),
    *_clients(1000, PEERS, PEERS),
    Scenario(name="idle-1000", kind="idle", clients=1000, seconds=62),
    *_fanout(1000, PEERS, {20: PEERS, 0: PEERS}),
    *_clients(4000, _MANY, ()),
    *_fanout(4000, _MANY, {20: ("sse-sink", "nchan")}),
    *_filters(),
    *_nodes(),
    *_replay(),
    *_steps(),
)
