"""The scenarios that can be measured, as data: one list, and so longer than other modules."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Literal

from .scenario import NO_HEARTBEATS, Kind, Scenario

OURS = ("sse-sink", "sse-sink-queue")
PEERS = (*OURS, "nchan", "sse-starlette", "django-eventstream", "flask-sse", "generator")
FLASK = ("flask", "flask-gthread")
"""Bare Flask apps that take events and store none."""
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
            few = OURS if batch else ("sse-sink", "nchan", "sse-starlette", "flask")
            yield Scenario(
                name=f"ingest-{batch or 1}x{producers}",
                kind="ingest",
                batch=batch,
                producers=producers,
                seconds=2,
                systems=(*systems, *FLASK),
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
    kinds: tuple[tuple[Kind, tuple[str, ...]], ...] = (
        ("connect", ("generator-worker",)),
        ("memory", ()),
    )
    for kind, more in kinds:
        yield Scenario(
            name=f"{kind}-{clients}",
            kind=kind,
            clients=clients,
            systems=(*systems, *more),
            default=default,
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


def _own() -> Iterator[Scenario]:
    for clients, workers in ((1, 1), (4000, 1), (1, 2), (10_000, 2)):
        name = f"{clients}-workers-{workers}" if workers > 1 else f"{clients}"
        yield _own_filters(f"own-type-{name}", "event_type", clients, workers)
        yield _own_filters(f"own-entity-{name}", "entity_id", clients, workers)
    nobody = _own_filters("own-nobody-4000", "event_type", 4000, 1)
    yield dataclasses.replace(nobody, nobody=True)


def _own_filters(
    name: str, own: Literal["event_type", "entity_id"], clients: int, workers: int
) -> Scenario:
    return Scenario(
        name=name,
        kind="own",
        clients=clients,
        own=own,
        rate=100,
        seconds=8,
        workers=workers,
        # Heartbeats would stand in one of the two times and not in the other.
        sink={"heartbeat_timeout": NO_HEARTBEATS},
        systems=("sse-sink",),
    )


def _heartbeat() -> Iterator[Scenario]:
    for name, timeout in (("heartbeat-4000", 5.0), ("heartbeat-4000-none", NO_HEARTBEATS)):
        yield Scenario(
            name=name,
            kind="heartbeat",
            clients=4000,
            # Heartbeats are due 5 s after each event. The next event comes in the midst of them.
            rate=1 / 5.2,
            seconds=21,
            sink={"heartbeat_timeout": timeout},
            systems=("sse-sink", "sse-sink-queue"),
        )


def _reconnect() -> Iterator[Scenario]:
    yield Scenario(
        name="reconnect-4000",
        kind="reconnect",
        clients=4000,
        rate=40,
        producers=4,
        # The most that the clients have to come back; it takes a few seconds on an idle machine.
        seconds=60,
        sink={"replay": True, "retry": 0.1},
        systems=("sse-sink", "redis-1"),
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
            sink={"replay": True},
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
                sink={"replay": True},
                systems=logs,
            )


def _steps() -> Iterator[Scenario]:
    for batch in (1, 100):
        yield Scenario(name=f"steps-{batch}", kind="steps", batch=batch, systems=("sse-sink",))


SCENARIOS = (
    *_ingest(),
    Scenario(
        name="latency",
        kind="fanout",
        clients=1,
        rate=100,
        seconds=2,
        systems=PEERS,
        default=PEERS,
    ),
    *_fanout(100, PEERS, {}),
    *_clients(1000, PEERS, PEERS),
    Scenario(name="idle-1000", kind="idle", clients=1000, seconds=62, systems=PEERS),
    *_fanout(1000, PEERS, {20: PEERS, 0: PEERS}),
    *_clients(4000, _MANY, ()),
    *_fanout(4000, _MANY, {20: ("sse-sink", "nchan")}),
    *_filters(),
    *_own(),
    *_heartbeat(),
    *_reconnect(),
    *_nodes(),
    *_replay(),
    *_steps(),
)
