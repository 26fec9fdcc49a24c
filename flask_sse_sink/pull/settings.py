"""The settings of a sink of type ``http_pull``: what its consumers get, where, and how."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from ..config.addresses import UrlPath
from ..config.settings import SinkSettings
from ..config.values import Interval, default, in_words
from .lifetimes import Lifetimes
from .place import Rules

_FIXED = {"extract": ("/dead",), "mark_processed": ("/extend", "/release", "/dead/retry")}


class PullPaths(Struct, frozen=True, kw_only=True):
    """Where a pulled sink is reached, below ``/NAME``."""

    extract: Annotated[UrlPath, Meta(description="where events are taken, with GET")] = default(
        UrlPath("/extract")
    )
    mark_processed: Annotated[
        UrlPath, Meta(description="where batches are confirmed, with POST")
    ] = default(UrlPath("/mark-processed"))


class PullSettings(SinkSettings, frozen=True, kw_only=True):
    """One pulled sink: a consumer group with a place of its own in the log."""

    path: PullPaths = field(default_factory=PullPaths)
    access: Annotated[
        Literal["token", "none"],
        Meta(description="with `none`, everybody who reaches the port may extract and confirm"),
    ] = "token"
    start: Annotated[
        Literal["earliest", "latest"],
        Meta(
            description="what a new sink sees of what is kept, fixed when the server first "
            "starts with it"
        ),
    ] = "earliest"
    batch_size: Annotated[
        int, Meta(ge=1, description="events in a batch, if a request names no number")
    ] = 100
    max_batch_size: Annotated[
        int, Meta(ge=1, le=100_000, description="most events in a batch")
    ] = 10_000
    lease: Annotated[
        Interval,
        Meta(description="how long a batch is kept from other consumers; `0`: it isn't"),
    ] = default(Interval(0))
    max_attempts: Annotated[
        int,
        Meta(ge=0, description="leases after which an event is a dead letter; `0`: never"),
    ] = 0
    max_wait: Annotated[
        Interval, Meta(description="longest `wait` that a request may ask for")
    ] = default(Interval(60))
    ttl_enabled: Annotated[
        bool, Meta(description="whether events that are too old are passed over")
    ] = False
    default_ttl: Annotated[
        Interval, Meta(description="with `ttl_enabled`, older events are passed over")
    ] = default(Interval(3600))
    event_ttl: Annotated[
        dict[str, Interval], Meta(description="the same for some types: `{order.created: 24h}`")
    ] = field(default_factory=dict)

    @property
    def rules(self) -> Rules:
        """Return what the consumers get."""
        lifetimes = Lifetimes(self.default_ttl, self.event_ttl) if self.ttl_enabled else None
        return Rules(self.match.filter, self.start, self.max_attempts, lifetimes)

    def about_events(self, event_type: str) -> Iterator[str]:
        yield "each event waits until it is confirmed, while it is kept"
        if self.ttl_enabled:
            seconds = self.event_ttl.get(event_type, self.default_ttl)
            yield f"it is passed over after {in_words(seconds)} (event_ttl, default_ttl)"
        if self.max_attempts:
            yield f"it is a dead letter after {self.max_attempts} leases (max_attempts)"

    def contradictions(self) -> Iterator[tuple[str, str]]:
        if self.batch_size > self.max_batch_size:
            yield (
                "batch_size",
                f"{self.batch_size} is above max_batch_size: {self.max_batch_size}; "
                "lower the one, or raise the other",
            )
        for name, fixed in _FIXED.items():
            path = getattr(self.path, name)
            if path.rstrip("/") in fixed:
                yield f"path.{name}", f"{path} is another route of this sink; choose another"
