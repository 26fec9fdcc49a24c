"""The sink type ``http_pull``: consumers extract batches of events, and confirm them."""

from __future__ import annotations

from typing import NamedTuple

from flask import Flask

from .. import metrics
from ..config import sink_types
from ..config.sink_types import Route, SinkType
from ..description.blueprint import DescribedBlueprint
from ..event import Event
from ..log import EventLog
from ..log.deliveries import deliveries_of
from ..pull.consumption import Consumption
from ..pull.pruning import PruneGuard
from ..pull.settings import PullSettings
from ..pull.waiting import Waiters
from .base import Host, Sink
from .http_pull_description import describe
from .http_pull_views import PullViews

_MICROSECONDS = 1_000_000


class _Parts(NamedTuple):
    """What works on one log for a sink."""

    log: EventLog
    consumption: Consumption
    guard: PruneGuard


class HttpPull(Sink):
    """A sink with one place in the log, which its consumers share."""

    def __init__(self, name: str, settings: PullSettings, host: Host) -> None:
        routes = _urls(name, settings)
        blueprint = DescribedBlueprint(
            name,
            __name__,
            lambda _: describe(name, settings, routes),
            url_prefix=f"/{name}",
        )
        super().__init__(name, blueprint)
        self.settings = settings
        self._rules = settings.rules
        self._host = host
        self._waiters = Waiters()
        self._parts: _Parts | None = None
        views = PullViews(name, settings, host, lambda: self.consumption, self._waiters)
        for route, view in zip(routes, views.in_order(), strict=True):
            self.blueprint.add_url_rule(
                route.url.removeprefix(f"/{name}"),
                view.__name__,
                view,
                methods=[route.method],
                strict_slashes=False,
            )

    @property
    def waiting(self) -> int:
        """Return how many requests wait."""
        return len(self._waiters)

    @property
    def consumption(self) -> Consumption:
        """Return what consumers do with the sink's events."""
        return self._of_this_log().consumption

    def _of_this_log(self) -> _Parts:
        parts, log = self._parts, self._host.log
        if parts is None or parts.log is not log:
            # The first use, or the first in a child process.
            store = deliveries_of(log)
            database = self._host.settings.database
            hold = database.retention_hold_count if database.retention_hold else 0
            guard = PruneGuard(log, store, self.name, self._rules, hold)
            guard.on_missed = lambda count: metrics.pulled().missed(self.name, count)
            consumption = Consumption(log, store, self.name, self._rules)
            parts = self._parts = _Parts(log, consumption, guard)
        return parts

    def start(self) -> None:
        self.consumption.place.open()

    def on_events_stored(self, sender: Flask, events: list[Event]) -> None:
        self._waiters.on_events(events)

    def end_streams(self) -> int:
        return self._waiters.end_all()

    def before_prune(self, through: int) -> int:
        return self._of_this_log().guard.before_prune(through)

    def maintain(self) -> None:
        self.consumption.place.open()
        # What was pruned may have been all that was older than confirmed events.
        self.consumption.place.advance()
        retention = self._host.settings.database.retention
        if retention:
            store = deliveries_of(self._host.log)
            store.forget(store.now_us() - round(retention * _MICROSECONDS))

    def report(self) -> None:
        backlog = self.consumption.backlog()
        metrics.pulled().at(self.name, backlog.lag, backlog.out, backlog.dead)

    def reset(self) -> None:
        self._waiters.reset()


def _urls(name: str, settings: PullSettings) -> list[Route]:
    patterns = ", ".join(settings.match.filter.types.values())
    path = settings.path
    return [
        Route("GET", f"/{name}{path.extract}", f"a batch of {patterns}"),
        Route("POST", f"/{name}{path.mark_processed}", "confirms a batch"),
        Route("POST", f"/{name}/extend", "makes a batch's lease longer"),
        Route("POST", f"/{name}/release", "gives a batch back"),
        Route("GET", f"/{name}/dead", "the dead letters"),
        Route("POST", f"/{name}/dead/retry", "frees dead letters"),
    ]


sink_types.register(SinkType("http_pull", PullSettings, _urls, HttpPull))
