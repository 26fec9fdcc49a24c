"""Metrics that a process creates at their first use."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from .multiprocess import creating_files

_T = TypeVar("_T")


def once(create: Callable[[], _T]) -> Callable[[], _T]:
    """Return a function that creates metrics at its first call, and then returns the same ones.

    prometheus_client decides where to count when it is first imported, which must be after
    ``prepare()`` in a server. So ``create`` imports it.
    """
    creating = threading.Lock()
    created: list[_T] = []

    def get() -> _T:
        if not created:
            with creating, creating_files():
                if not created:
                    created.append(create())
        return created[0]

    return get
