"""The settings: what ``config.yaml`` may hold, and each setting's default.

Defaults, bounds and descriptions stand only here; the checks, the JSON Schema and the tests of
the documentation use them. The settings of a type of sinks stand in a module of that type.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Literal

import msgspec
from msgspec import Meta, Struct

from ..filters import EVERYTHING
from .access_settings import AccessSettings
from .addresses import Host, Sender, UrlPath
from .values import Interval, Match, Pause, Size, default

#: Where tickets are given, if there is a secret to sign them with.
TICKETS_PATH = "/tickets"

Token = Annotated[str, Meta(min_length=8, pattern=r"^[\x21-\x7e]+\Z")]


class ServerSettings(Struct, frozen=True, kw_only=True):
    """How the server listens. Read by gunicorn.conf.py."""

    host: Annotated[Host, Meta(description="address to listen on")] = default(Host("127.0.0.1"))
    port: Annotated[int, Meta(ge=0, le=65535, description="port to listen on")] = 8000
    workers: Annotated[int, Meta(ge=1, le=1024, description="processes")] = 2
    max_clients: Annotated[
        int,
        Meta(ge=1, le=100_000, description="most streams of one worker; each takes a thread"),
    ] = 1000
    max_clients_per_address: Annotated[
        int,
        Meta(
            ge=0,
            description="most streams of one worker from one address (from one /64 of IPv6); `0` "
            "sets no limit",
        ),
    ] = 0
    proxies: Annotated[
        int,
        Meta(
            ge=0,
            le=10,
            description="number of proxies in front whose `X-Forwarded-*` headers are trusted",
        ),
    ] = 0
    head_timeout: Annotated[
        Pause, Meta(description="a request's head must be complete within this time")
    ] = default(Pause(10))
    body_timeout: Annotated[
        Pause,
        Meta(
            description="a request's body must be complete within this time; a body that comes at "
            "1 KiB a second or faster gets more time"
        ),
    ] = default(Pause(30))
    direct_send: Annotated[
        bool,
        Meta(description="whether events are written straight to the sockets"),
    ] = True
    log_format: Annotated[
        Literal["text", "json"],
        Meta(description="with `json`, each line of gunicorn's logs is a JSON object"),
    ] = "text"
    queue_bytes: Annotated[
        Size,
        Meta(
            description="bytes that may wait for all clients of a worker, each event counted "
            "once; above it the fullest queues lose their oldest frames"
        ),
    ] = default(Size(256 * 2**20))
    console: Annotated[
        bool,
        Meta(
            description="whether browsers get the live console, at `/` and at the paths of streams"
        ),
    ] = True


class DatabaseSettings(Struct, frozen=True, kw_only=True):
    """Where events are kept, and for how long."""

    url: Annotated[
        str,
        Meta(
            description="`sqlite:///` and a path, relative to the configuration file; "
            "`sqlite:///:memory:` for a single process, with whose end the events are gone; or "
            "`redis://HOST:PORT/DB` and the like"
        ),
    ] = "sqlite:///data/events.db"
    retention: Annotated[Interval, Meta(description="older events are pruned; `0` keeps all")] = (
        default(Interval(30 * 86400))
    )
    retention_count: Annotated[
        int, Meta(ge=0, description="number of newest events that are kept; `0` keeps any number")
    ] = 0
    retention_hold: Annotated[
        bool,
        Meta(description="whether events stay that a sink of type `http_pull` hasn't confirmed"),
    ] = False
    retention_hold_count: Annotated[
        int, Meta(ge=1, description="and how many events may be kept for that at most")
    ] = 1_000_000
    replicas: Annotated[
        int,
        Meta(
            ge=0,
            le=100,
            description="Redis replicas that must have an event before it is answered",
        ),
    ] = 0


class IngestSettings(Struct, frozen=True, kw_only=True):
    """How events come in over HTTP."""

    path: Annotated[UrlPath, Meta(description="where events are POSTed")] = default(
        UrlPath("/ingest")
    )
    tokens: Annotated[
        list[Token],
        Meta(description="bearer tokens that may publish; with none, nobody may"),
    ] = []
    auth: Annotated[
        Literal["token", "none"],
        Meta(description="with `none`, everybody who reaches the port may publish"),
    ] = "token"
    max_body: Annotated[Size, Meta(description="largest body, as sent and as unpacked")] = default(
        Size(2**20)
    )
    max_batch: Annotated[int, Meta(ge=1, description="most events in one request")] = 10_000
    trace: Annotated[
        bool,
        Meta(description="whether a request's `traceparent` and `tracestate` are kept in `meta`"),
    ] = False
    webhook_senders: Annotated[
        list[Sender],
        Meta(
            description="senders of webhooks that are told, when they ask, that they may send; "
            "`*`: every sender"
        ),
    ] = msgspec.field(default_factory=lambda: [Sender("*")])


class SinkSettings(Struct, frozen=True, kw_only=True):
    """What the settings of every type of sinks have; each type has a subclass of this.

    ``type`` is the name of a registered :class:`~.sink_types.SinkType`. Every field of a subclass
    needs a default.
    """

    type: Annotated[
        str,
        Meta(
            description="`sse` or `http_pull`; may be left out where the sink's name is its type"
        ),
    ] = ""
    match: Annotated[
        Match, Meta(description="`*`, `prefix.*`, an exact type, or a list of these")
    ] = default(Match(EVERYTHING))
    access: Annotated[
        Literal["none", "token"],
        Meta(description="`none`: whoever reaches the port reads; `token`: who has a grant"),
    ] = "none"

    def about_events(self, event_type: str) -> Iterator[str]:
        """Yield what becomes of events of a type for clients that weren't there when they came.

        A subclass may override it.
        """
        return iter(())

    def contradictions(self) -> Iterator[tuple[str, str]]:
        """Yield pairs of a setting's name and what is wrong between it and other settings.

        The loader asks this after it has checked each setting by itself. A subclass may override
        it.
        """
        return iter(())


class Settings(Struct, frozen=True, kw_only=True):
    """The whole configuration."""

    server: ServerSettings = msgspec.field(default_factory=ServerSettings)
    database: DatabaseSettings = msgspec.field(default_factory=DatabaseSettings)
    ingest: IngestSettings = msgspec.field(default_factory=IngestSettings)
    access: AccessSettings = msgspec.field(default_factory=AccessSettings)
    sink: dict[str, SinkSettings] = {}
