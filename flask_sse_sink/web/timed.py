"""Counts how requests that publish are answered, and how soon."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable

from flask import Response

from .. import metrics


def timed(view: Callable[[], Response]) -> Callable[[], Response]:
    """Decorate a view: its answers are counted by their status, with the time that they took."""

    @functools.wraps(view)
    def answer() -> Response:
        began = time.perf_counter()
        status = 500
        try:
            response = view()
            status = response.status_code
        finally:
            metrics.server().ingested(status, time.perf_counter() - began)
        return response

    return answer
