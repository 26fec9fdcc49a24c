"""The scenarios: what load each one is, and which run by default."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

WINDOW = 8
"""Requests on their way at once, flat out: few enough that no peer's queue overflows."""


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One measurement. Those with the same clients and filters share a server."""

    name: str
    kind: Literal["ingest", "connect", "memory", "idle", "fanout"]
    clients: int = 0
    rate: float = 0
    """Requests a second; 0 is flat out, a window of them on their way."""
    batch: int = 0
    """Events a request; 0 is one event, not in an array."""
    filters: int = 0
    """Different ``event_type`` filters among the clients, matching in turn; 0 is none."""
    others: int = 0
    """Clients with a filter each that nothing matches, beside those that all ask for one type."""
    producers: int = 1
    seconds: float = 4
    systems: tuple[str, ...] = ()
    """The systems that a default run measures with it; all if empty."""
    default: bool = True


def _all() -> list[Scenario]:
    made = []
    for batch in (0, 100):
        for producers in (1, 8):
            made.append(
                Scenario(
                    name=f"ingest-{batch or 1}x{producers}",
                    kind="ingest",
                    batch=batch,
                    producers=producers,
                    seconds=2,
                    default=producers == 8,
                    systems=("sse-sink", "nchan", "sse-starlette") if not batch else (),
                )
            )
    made.append(Scenario(name="latency", kind="fanout", clients=1, rate=100, seconds=2))
    for clients in (100, 1000, 4000):
        key = clients == 1000
        both = ("sse-sink", "nchan")
        if clients != 100:
            made += [
                Scenario(name=f"connect-{clients}", kind="connect", clients=clients, default=key),
                Scenario(name=f"memory-{clients}", kind="memory", clients=clients, default=key),
            ]
        if key:
            made.append(
                Scenario(name="idle-1000", kind="idle", clients=1000, seconds=62, default=False)
            )
        for rate in (1, 20, 200, 0):
            made.append(
                Scenario(
                    name=f"fanout-{clients}-{rate or 'flat'}",
                    kind="fanout",
                    clients=clients,
                    rate=rate,
                    seconds=8 if rate == 1 else 4,
                    default=(key and rate in (0, 20)) or (clients == 4000 and rate == 20),
                    systems=both if clients == 4000 else (),
                )
            )
        made.append(
            Scenario(
                name=f"batch-{clients}",
                kind="fanout",
                clients=clients,
                batch=100,
                seconds=3,
                default=key,
            )
        )
    for filters in (1, 20, 200):
        made += [
            Scenario(
                name=f"filters-{filters}",
                kind="fanout",
                clients=999 + filters,
                filters=1,
                others=filters - 1,
                rate=20,
            ),
            Scenario(
                name=f"spread-{filters}",
                kind="fanout",
                clients=1000,
                filters=filters,
                rate=50,
                seconds=3,
                default=False,
            ),
        ]
    return made


SCENARIOS = _all()
