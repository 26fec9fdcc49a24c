"""The systems that can be measured, in the order of the tables."""

from __future__ import annotations

from pathlib import Path

from ..system import System
from .checkout import Generator, OnOurServer, SSESink, SSESinkQueue, SSESinkRedis
from .nchan import Nchan
from .python_apps import PYTHON_APPS


def checkout(project: Path) -> list[SSESink]:
    """Return the systems that are this project, or run on its worker, as it is in a checkout."""
    return [
        SSESink(project),
        SSESinkQueue(project),
        SSESinkRedis("redis-always", project, 1, "always"),
        *(SSESinkRedis(f"redis-{nodes}", project, nodes) for nodes in (1, 2, 4)),
        OnOurServer(
            "flask",
            "a bare Flask view that decodes the JSON and stores nothing, on this project's worker",
            project,
            app="ingest_app",
        ),
        OnOurServer(
            "flask-gthread",
            "the same on gunicorn's own gthread worker",
            project,
            app="ingest_app",
            options="--worker-class gthread",
        ),
        Generator(
            "generator-worker",
            "plain Flask generators, as `generator`, on this project's worker",
            project,
            app="generator_app",
        ),
    ]


def systems(project: Path) -> list[System]:
    """Return every system, with this project as it is in the checkout."""
    return [*checkout(project), Nchan(), *PYTHON_APPS]
