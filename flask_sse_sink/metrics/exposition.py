"""The metrics of all processes, as Prometheus reads them, and those of sinks as numbers."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Mapping
from typing import Any

from .counters import get
from .failsafe import FOLDER_VARIABLE
from .multiprocess import locked


def expose(accept: str) -> tuple[bytes, str]:
    """Return all metrics in the format that an ``Accept`` header asks for, and its type.

    :raises Exception: the folder is gone, or its files are damaged.
    """
    # Imported as late as `once` says.
    from prometheus_client import exposition

    try:
        encode, content_type = exposition.choose_encoder(accept)
    except Exception:
        # It raises a TypeError if a version in the header is no number.
        encode, content_type = exposition.choose_encoder("")
    with _all_processes() as registry:
        return encode(registry), content_type


def of_sinks(names: Mapping[str, str]) -> dict[str, dict[str, float]]:
    """Return numbers of each sink that is counted at all: of all processes, as of now.

    ``names`` has the samples to read, without their common prefix, and under which name each is
    returned. Samples of a sink that differ in other labels are added up.

    :raises Exception: the folder is gone, or its files are damaged.
    """
    wanted = {f"sse_sink_{sample}": name for sample, name in names.items()}
    sinks: dict[str, dict[str, float]] = {}
    with _all_processes() as registry:
        for family in registry.collect():
            for sample in family.samples:
                name, sink = wanted.get(sample.name), sample.labels.get("sink")
                if name is not None and sink is not None:
                    numbers = sinks.setdefault(sink, {})
                    numbers[name] = numbers.get(name, 0.0) + sample.value
    return sinks


@contextlib.contextmanager
def _all_processes() -> Iterator[Any]:
    """Yield the registry whose metrics are those of all processes of this server."""
    # Imported as late as `once` says.
    from prometheus_client import REGISTRY, CollectorRegistry, multiprocess

    get()
    folder = os.environ.get(FOLDER_VARIABLE)
    if not folder:
        yield REGISTRY
        return
    registry = CollectorRegistry()
    with locked(folder, fcntl.LOCK_SH):
        multiprocess.MultiProcessCollector(registry, path=folder)  # type: ignore[no-untyped-call]
        yield registry
