"""The systems that can be measured, in the order of the tables."""

from __future__ import annotations

from pathlib import Path

from ..system import System
from .checkout import SSESink, SSESinkQueue, SSESinkRedis
from .nchan import Nchan
from .python_apps import PYTHON_APPS


def checkout(project: Path) -> list[SSESink]:
    """Return the systems that are this project, as it is in a checkout."""
    return [
        SSESink(project),
        SSESinkQueue(project),
        SSESinkRedis("redis-always", project, 1, "always"),
        *(SSESinkRedis(f"redis-{nodes}", project, nodes) for nodes in (1, 2, 4)),
    ]


def systems(project: Path) -> list[System]:
    """Return every system, with this project as it is in the checkout."""
    return [*checkout(project), Nchan(), *PYTHON_APPS]
