"""The settings of a sink of type ``sse``: which events it streams, where, and how patiently."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from ..config.addresses import Origin, UrlPath
from ..config.settings import SinkSettings
from ..config.values import Interval, Pause, ReplayBound, Size, default, in_words


class SSESettings(SinkSettings, frozen=True, kw_only=True):
    """One sink: which events it streams, where, and how patiently."""

    path: Annotated[
        UrlPath, Meta(description="appended to `/NAME/`: `/live` on `alerts` is `/alerts/live`")
    ] = default(UrlPath("/"))
    format: Annotated[
        Literal["envelope", "cloudevents"],
        Meta(description="`envelope`, or `cloudevents`: each event as a CloudEvent in JSON"),
    ] = "envelope"
    max_clients: Annotated[
        int,
        Meta(
            ge=0,
            description="most streams of this sink in one worker; `0`: as many as the worker "
            "admits",
        ),
    ] = 0
    when_full: Annotated[
        Literal["refuse", "retry"],
        Meta(
            description="`refuse` answers 503; `retry` tells an `EventSource` to connect again "
            "later"
        ),
    ] = "refuse"
    heartbeat_timeout: Annotated[
        Pause, Meta(description="after this time without an event, a heartbeat is sent")
    ] = default(Pause(30))
    queue_size: Annotated[
        int,
        Meta(
            ge=1, description="frames that may wait for one client; above it the oldest are lost"
        ),
    ] = 1000
    queue_bytes: Annotated[
        Size, Meta(description="bytes of frames that may wait for one client")
    ] = default(Size(16 * 2**20))
    write_timeout: Annotated[
        Pause, Meta(description="a client that takes nothing for this long is cut (Linux)")
    ] = default(Pause(30))
    retry: Annotated[Interval, Meta(description="the reconnect hint sent to `EventSource`")] = (
        default(Interval(3))
    )
    replay: Annotated[
        ReplayBound,
        Meta(
            description="whether a client that comes back gets what it missed; `1h` or `10000` "
            "(events): no further back than that"
        ),
    ] = default(ReplayBound(False))
    cors_origins: Annotated[
        list[Origin],
        Meta(
            description="exact origins whose pages may read the stream: "
            '`["https://app.example"]`; or `*` alone'
        ),
    ] = msgspec.field(default_factory=list)
    cors_credentials: Annotated[
        bool, Meta(description="whether pages of `cors_origins` may send their cookies")
    ] = False

    def about_events(self, event_type: str) -> Iterator[str]:
        bound = self.replay
        if not bound.on:
            yield "who isn't connected misses it (replay: false)"
        elif bound.seconds is not None:
            yield f"who comes back within {in_words(bound.seconds)} gets it (replay)"
        elif bound.count is not None:
            yield f"who comes back before {bound.count} newer events gets it (replay)"
        else:
            yield "who comes back while it is kept gets it (replay: true)"

    def contradictions(self) -> Iterator[tuple[str, str]]:
        if "*" in self.cors_origins and len(self.cors_origins) > 1:
            yield (
                "cors_origins",
                '"*" stands beside others; keep it alone, or leave it out',
            )
        if self.cors_credentials and "*" in self.cors_origins:
            yield "cors_credentials", 'is true although cors_origins is "*"; name the origins'
        if self.cors_credentials and not self.cors_origins:
            yield "cors_credentials", "is true although there are no cors_origins; name them"
