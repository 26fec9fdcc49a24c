"""Counting never fails a request: an error is logged once, and the caller goes on."""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Callable
from typing import Any, ParamSpec

_log = logging.getLogger(__name__)

#: The environment variable that names the folder where processes count. The library
#: prometheus_client reads it, too.
FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"

_P = ParamSpec("_P")

_warned = False


def warn(error: Exception) -> None:
    """Log that something wasn't counted; only the first call in a process logs anything."""
    global _warned
    if not _warned:
        _warned = True
        folder = os.environ.get(FOLDER_VARIABLE)
        place = f" in the folder {folder} ({FOLDER_VARIABLE})" if folder else ""
        _log.error(
            "metrics can't be counted%s, and are wrong from now on: %s: %s",
            place,
            type(error).__name__,
            error,
        )


def never_fails(count: Callable[_P, None]) -> Callable[_P, None]:
    """Decorate a function that counts: it logs its error instead of raising it."""

    @functools.wraps(count)
    def counted(*args: _P.args, **kwargs: _P.kwargs) -> None:
        try:
            count(*args, **kwargs)
        except Exception as error:
            warn(error)

    return counted


class _Uncounted:
    """Takes the place of a metric that couldn't be created, and counts nothing."""

    def labels(self, *values: str) -> _Uncounted:
        return self

    def inc(self, amount: float = 1) -> None:
        """Count nothing."""

    dec = set = observe = inc


def create_or_ignore(create: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Return the metric that ``create`` returns; after an error, one that counts nothing."""
    try:
        return create(*args, **kwargs)
    except Exception as error:
        warn(error)
        return _Uncounted()
