"""Waiting for a condition, instead of sleeping for some time and hoping."""

from __future__ import annotations

import time
from collections.abc import Callable

#: How long a test waits for anything before it fails.
WAIT_SECONDS = 20.0


def wait_until(condition: Callable[[], object], what: str, seconds: float = WAIT_SECONDS) -> None:
    """Return once the condition holds, and fail with ``what`` where it doesn't in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not in {seconds:g} s: {what}"
        time.sleep(0.02)
