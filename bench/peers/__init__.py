"""The systems that are measured, in the order of the tables."""

from __future__ import annotations

from ..system import System
from .django_eventstream import DjangoEventstream
from .flask_sse import FlaskSSE
from .generator import Generator
from .nchan import Nchan
from .sse_sink import SSESink, SSESinkQueue
from .sse_starlette import SSEStarlette

SYSTEMS: tuple[System, ...] = (
    SSESink(),
    SSESinkQueue(),
    Nchan(),
    SSEStarlette(),
    DjangoEventstream(),
    FlaskSSE(),
    Generator(),
)
