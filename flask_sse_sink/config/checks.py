"""Checks between settings that are right by themselves."""

from __future__ import annotations

from .access_checks import check_access
from .databases import DATABASES, no_log, scheme_of
from .problems import Problems
from .settings import TICKETS_PATH, DatabaseSettings, Settings
from .sink_types import routes, type_examples


def check(settings: Settings, problems: Problems) -> None:
    """Add every contradiction between settings to ``problems``."""
    # A section called `sinks` by mistake is reported as that already.
    if not settings.sink and not problems.any_at("sink"):
        problems.add(
            "sink", f"is missing or empty; write a name and under it {type_examples('`')}"
        )
    if settings.ingest.auth == "none" and settings.ingest.tokens:
        problems.add("ingest.auth", "is none although there are tokens; keep one of the two")
    _check_database(settings.database, problems)
    check_access(settings, problems)
    for name, sink in settings.sink.items():
        for setting, what in sink.contradictions():
            problems.add(f"sink.{name}.{setting}", what)
    _check_routes(settings, problems)


def _check_routes(settings: Settings, problems: Problems) -> None:
    """Add each route of ours that meets another one."""
    if settings.access.secret.values and settings.ingest.path.rstrip("/") == TICKETS_PATH:
        problems.add("ingest.path", f"meets {TICKETS_PATH}, where tickets are given; change it")
    owners: dict[tuple[str, str], str] = {}
    for name, route in routes(settings.sink):
        url = route.url.rstrip("/")
        if url == settings.ingest.path.rstrip("/"):
            problems.add(
                f"sink.{name}",
                f"meets ingest.path at {settings.ingest.path}; change one of the two",
            )
        owner = owners.setdefault((route.method, url), name)
        if owner != name:
            problems.add(
                f"sink.{name}", f"meets sink.{owner} at {route.url}; change one of the two"
            )


def _check_database(database: DatabaseSettings, problems: Problems) -> None:
    scheme = scheme_of(database)
    kind = DATABASES.get(scheme)
    if problem := no_log(database) if kind is None else kind.check(database):
        problems.add("database.url", problem)
    elif kind is not None and database.replicas and not kind.has_replicas:
        problems.add("database.replicas", f"{scheme} has none to wait for; leave it out")
