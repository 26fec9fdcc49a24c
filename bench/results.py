"""Results: the rows of one run, and the file that holds them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

from .scenario import Kind
from .system import ROOT

FOLDER = ROOT / "bench" / "results"


class Row(msgspec.Struct, kw_only=True):
    """What was measured; ``None`` where a scenario doesn't have it."""

    system: str
    scenario: str
    kind: Kind
    run: int = 1
    """Which repetition of the scenario it is."""
    clients: int
    workers: int
    producers: int | None = None
    batch: int | None = None
    filters: int | None = None
    rate: float | None = None
    criterion: str = ""
    """What every client asks for a value of its own of."""
    heartbeat_seconds: float | None = None
    seconds: float | None = None
    """From the first POST until the publisher had ended and the last delivery was made; from a
    restart until all clients had every event again."""
    events: int | None = None
    events_per_second: float | None = None
    deliveries: int | None = None
    deliveries_per_second: float | None = None
    missing: int | None = None
    """Deliveries that should have been made and weren't."""
    repeated: int | None = None
    """Deliveries beyond one for each event and client."""
    cpu_us: float | None = None
    """Processor time of the server, user and system: for each delivery, or for each event where
    nobody listens, or for each connect, or for each client that comes back."""
    cpu_us_per_event: float | None = None
    """Of clients with filters of their own, without the idle time."""
    idle_percent: float | None = None
    """Of one core, the server's, while nothing is published."""
    helper_cpu_us: dict[str, float] = msgspec.field(default_factory=dict)
    """The same of its helpers, such as Redis; not in ``cpu_us``."""
    cpu_percent: float | None = None
    """Of one core, the server's."""
    p50_ms: float | None = None
    p99_ms: float | None = None
    """Of the POSTs, where the server restarts."""
    calm_p99_ms: float | None = None
    """The same before the restart."""
    gap_seconds: dict[str, float] = msgspec.field(default_factory=dict)
    """Between two heartbeats of a client: the least, the median and the greatest."""
    returned_seconds: float | None = None
    """From the restart until the last client had a stream again."""
    bytes_per_delivery: float | None = None
    load_cpu_us: float | None = None
    """Processor time of the load generator itself, for each delivery."""
    load_percent: float | None = None
    """Of one core, the load generator's; near 100 the generator was the limit, not the server."""
    connects_per_second: float | None = None
    memory_kib: float | None = None
    """What a client adds to the server's proportional set size, after its first event."""
    helper_memory_kib: dict[str, float] = msgspec.field(default_factory=dict)
    server_mib: float | None = None
    """The server's proportional set size after a replay."""
    replayed_mib_per_second: float | None = None
    """What the clients that replay meanwhile are sent."""
    steps_us: dict[str, float] = msgspec.field(default_factory=dict)
    """Processor time of each step of ingest, for each event."""
    notes: list[str] = msgspec.field(default_factory=list)


class Result(msgspec.Struct, kw_only=True):
    """One run of the benchmark."""

    began: str
    seconds: float
    machine: dict[str, Any]
    versions: dict[str, str]
    parameters: dict[str, Any]
    systems: dict[str, str]
    left_out: dict[str, str]
    rows: list[Row]


def write(result: Result, folder: Path) -> Path:
    """Write the result into a file named after the moment it began; return the file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{result.began[:19].replace(':', '-')}Z.json"
    path.write_bytes(msgspec.json.format(msgspec.json.encode(result), indent=1) + b"\n")
    return path


def read(path: Path) -> Result:
    """Return the result in a file.

    :raises msgspec.ValidationError: it holds something else.
    """
    return msgspec.json.decode(path.read_bytes(), type=Result)


def newest(folder: Path = FOLDER) -> Path:
    """Return the file of the newest result.

    :raises FileNotFoundError: there is none.
    """
    if found := sorted(folder.glob("*Z.json")):
        return found[-1]
    raise FileNotFoundError(f"no result in {folder}: run python -m bench")
