"""Ids of events and requests: unique, but no secrets.

The operating system is asked once for randomness, and not for every id: each call would let
another thread take the interpreter.
"""

from __future__ import annotations

import os
import random
import time

# Not the module's own generator, which an app may seed.
_random = random.Random()
os.register_at_fork(after_in_child=_random.seed)


def new_id() -> str:
    """Return 32 random hexadecimal digits."""
    return f"{_random.getrandbits(128):032x}"


def new_ordered_id() -> str:
    """Return 32 hexadecimal digits that begin with the time, in microseconds.

    An index of such ids grows at its end. Of random ones each would change another of its pages.
    """
    return f"{time.time_ns() // 1000:016x}{_random.getrandbits(64):016x}"
