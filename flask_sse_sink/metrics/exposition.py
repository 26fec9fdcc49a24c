"""The metrics as Prometheus reads them."""

from __future__ import annotations

import fcntl
import os

from .counters import get
from .failsafe import FOLDER_VARIABLE
from .multiprocess import locked


def expose(accept: str) -> tuple[bytes, str]:
    """Return all metrics in the format that an ``Accept`` header asks for, and its type.

    :raises Exception: the folder is gone, or its files are damaged.
    """
    # Imported as late as `once` says.
    from prometheus_client import REGISTRY, CollectorRegistry, exposition, multiprocess

    get()
    try:
        encode, content_type = exposition.choose_encoder(accept)
    except Exception:
        # It raises a TypeError if a version in the header is no number.
        encode, content_type = exposition.choose_encoder("")
    folder = os.environ.get(FOLDER_VARIABLE)
    if not folder:
        return encode(REGISTRY), content_type
    registry = CollectorRegistry()
    with locked(folder, fcntl.LOCK_SH):
        multiprocess.MultiProcessCollector(registry, path=folder)  # type: ignore[no-untyped-call]
        return encode(registry), content_type
