"""The settings of a sink of type ``sse``: which events it streams, where, and how patiently."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from ..config.addresses import Origin, UrlPath
from ..config.settings import SinkSettings
from ..config.values import Interval, Pause, ReplayBound, Size, default


class SSESettings(SinkSettings, frozen=True, kw_only=True):
    """One sink: which events it streams, where, and how patiently."""

    path: Annotated[UrlPath, Meta(description="appended to `/NAME/`")] = default(UrlPath("/"))
    max_clients: Annotated[
        int,
        Meta(ge=0, description="streams of this sink a worker admits; `0`: as many as it can"),
    ] = 0
    when_full: Annotated[
        Literal["refuse", "retry"],
        Meta(description="`refuse` with 503, or tell `EventSource` to `retry`"),
    ] = "refuse"
    heartbeat_timeout: Annotated[
        Pause, Meta(description="silence after which a heartbeat is sent")
    ] = default(Pause(30))
    queue_size: Annotated[
        int, Meta(ge=1, description="frames that may wait for one client; then the oldest go")
    ] = 1000
    queue_bytes: Annotated[
        Size, Meta(description="bytes of frames that may wait for one client")
    ] = default(Size(16 * 2**20))
    write_timeout: Annotated[
        Pause, Meta(description="a peer that takes nothing for this long is cut")
    ] = default(Pause(30))
    retry: Annotated[Interval, Meta(description="the reconnect hint sent to EventSource")] = (
        default(Interval(3))
    )
    replay: Annotated[
        ReplayBound,
        Meta(
            description="whether `Last-Event-ID` is honoured; `1h` or `10000` bounds how far back"
        ),
    ] = default(ReplayBound(False))
    cors_origins: Annotated[
        list[Origin],
        Meta(description="origins whose pages may read the stream, to the letter, or `*` alone"),
    ] = msgspec.field(default_factory=list)
    cors_credentials: Annotated[
        bool, Meta(description="whether pages of `cors_origins` may send their cookies")
    ] = False

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
