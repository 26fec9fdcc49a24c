"""The settings and their types: what ``config.yaml`` may hold, and each setting's default.

Defaults, bounds and descriptions stand here alone; the checks, the JSON Schema and the test of
the documentation are made from them.
"""

from __future__ import annotations

import ipaddress
import math
import re
from typing import Annotated, Any, ClassVar, Literal, Self
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct
from pytimeparse.timeparse import timeparse

from ..filters import EVERYTHING, Filter, parse

_SIZE_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9} | {
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
}


# What is an origin, but for its port's number and the one way to write an IPv6 address.
_ORIGIN = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://"
    r"(?P<host>[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])"
    r"(?::(?P<port>[1-9][0-9]{0,4}))?"
)
_HOST_NAME = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*")
_DEFAULT_PORTS = {"http": 80, "https": 443}


class Value:
    """A kind of setting that is written in a way of its own."""

    @classmethod
    def read(cls, value: object) -> Self:
        """Return the setting that ``value`` means.

        :raises ValueError: it means none; the message tells the cure.
        """
        raise NotImplementedError

    @staticmethod
    def schema() -> dict[str, Any]:
        """Return the JSON Schema of what :meth:`read` takes."""
        raise NotImplementedError


class Interval(Value, float):
    """Seconds, from a number or from text such as ``"30s"``, ``"1m 30s"``, ``"1h"``, ``"500ms"``.

    A subclass narrows ``least`` and ``most``, both in seconds.
    """

    least: ClassVar[float] = 0
    most: ClassVar[float] = 100 * 365 * 86400

    @classmethod
    def read(cls, value: object) -> Self:
        seconds = _seconds(value)
        if seconds is None or not math.isfinite(seconds):
            raise ValueError(
                f'{show(value)} is not an interval; write seconds or e.g. "30s", "1m 30s", "1h"'
            )
        if not cls.least <= seconds <= cls.most:
            raise ValueError(
                f"{show(value)} is out of bounds; "
                f"write at least {cls.least:g} and at most {cls.most:g} seconds"
            )
        return cls(seconds)

    @staticmethod
    def schema() -> dict[str, Any]:
        return {"type": ["number", "string"], "examples": [30, "30s", "1m 30s", "1h", "500ms"]}


class Pause(Interval):
    """An interval that a thread waits for."""

    least = 0.01
    most = 86400


class Size(Value, int):
    """Bytes, from a whole number or from text such as ``"64KiB"`` or ``"1MB"``."""

    @classmethod
    def read(cls, value: object) -> Self:
        count = 0
        if isinstance(value, int) and not isinstance(value, bool):
            count = value
        elif isinstance(value, str) and (
            found := re.fullmatch(r"(\d{1,15}(?:\.\d{1,9})?) ?([A-Za-z]*)", value.strip())
        ):
            count = int(float(found[1]) * _SIZE_UNITS.get(found[2].upper(), 0))
        if not 1 <= count <= 2**40:
            raise ValueError(f'{show(value)} is not a size; write bytes or e.g. "64KiB", "1MiB"')
        return cls(count)

    @staticmethod
    def schema() -> dict[str, Any]:
        return {"type": ["integer", "string"], "examples": [65536, "64KiB", "1MiB"]}


class Match(Value):
    """What a sink lets through, from one pattern or a list of them."""

    def __init__(self, filter: Filter) -> None:
        self.filter = filter

    @classmethod
    def read(cls, value: object) -> Self:
        patterns = [value] if isinstance(value, str) else value
        if not isinstance(patterns, list) or not all(isinstance(p, str) for p in patterns):
            raise ValueError(f'{show(value)} is not a pattern; write e.g. "user.*", or a list')
        if not patterns:
            raise ValueError('is an empty list; write "*" to let every event through')
        return cls(parse(patterns))

    @staticmethod
    def schema() -> dict[str, Any]:
        one = {"type": "string", "examples": ["*", "user.*", "user.login"]}
        return {"anyOf": [one, {"type": "array", "items": one, "minItems": 1}]}


class ReplayBound(Value):
    """Whether and how far back a sink sends again what was stored before a client connected.

    ``seconds`` or ``count``, where given, bound it to the newest events.
    """

    def __init__(
        self, on: bool = True, seconds: float | None = None, count: int | None = None
    ) -> None:
        self.on = on
        self.seconds = seconds
        self.count = count

    def __str__(self) -> str:
        return f"{self.on} {self.seconds} {self.count}"

    @classmethod
    def read(cls, value: object) -> Self:
        # From a variable everything comes as text.
        if isinstance(value, bool) or value in ("true", "false"):
            return cls(value in (True, "true"))
        try:
            count = int(value) if isinstance(value, (int, str)) else 0
        except ValueError:
            seconds = _seconds(value)
            if seconds and math.isfinite(seconds):
                return cls(seconds=seconds)
        else:
            if 1 <= count < 2**63:
                return cls(count=count)
        raise ValueError(
            f"{show(value)} doesn't say how far back to replay; write true, false, "
            'a number of events, or an interval, e.g. "1h"'
        )

    @staticmethod
    def schema() -> dict[str, Any]:
        return {"type": ["boolean", "integer", "string"], "examples": [True, False, "1h", 10000]}


class UrlPath(Value, str):
    """An absolute URL path; the slash in front may be left out where it is written."""

    @classmethod
    def read(cls, value: object) -> Self:
        path = "/" + value.removeprefix("/") if isinstance(value, str) else ""
        if not re.fullmatch(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*/?", path) or not path:
            raise ValueError(
                f"{show(value)} is not a plain path; write letters, digits, - . _ ~ "
                "and single slashes, e.g. /live"
            )
        return cls(path)

    @staticmethod
    def schema() -> dict[str, Any]:
        return {"type": "string", "examples": ["", "/live"]}


class Origin(Value, str):
    """A web origin to the letter as browsers send it, or ``*`` for every one.

    Rule: RFC 6454, 6.2 "ASCII Serialization of an Origin".
    """

    @classmethod
    def read(cls, value: object) -> Self:
        text = value if isinstance(value, str) else ""
        if text == "*" or _is_origin(text):
            return cls(text)
        meant = _nearest_origin(text)
        raise ValueError(
            f"{show(value)} is not an origin; "
            + (f"did you mean {meant}? W" if meant else "w")
            + "rite scheme, host and port as browsers send them, with nothing after them, "
            'e.g. https://app.example or http://localhost:3000, or "*" alone for every origin'
        )

    @staticmethod
    def schema() -> dict[str, Any]:
        return {"type": "string", "examples": ["https://app.example", "http://localhost:3000"]}


def _is_origin(text: str) -> bool:
    found = _ORIGIN.fullmatch(text)
    if found is None or len(text) > 300:
        return False
    scheme, host, port = found["scheme"], found["host"], found["port"]
    if port and (int(port) > 65535 or _DEFAULT_PORTS.get(scheme) == int(port)):
        # Browsers leave out a scheme's own port.
        return False
    if host.startswith("["):
        try:
            return host == f"[{ipaddress.IPv6Address(host[1:-1])}]"
        except ValueError:
            return False
    return True


def _nearest_origin(text: str) -> str:
    """Return the origin that was probably meant, nothing where that can't be told."""
    try:
        parts = urlsplit(text)
        host = parts.hostname or ""
        host = f"[{ipaddress.IPv6Address(host)}]" if ":" in host else host
        port = "" if parts.port in (None, _DEFAULT_PORTS.get(parts.scheme)) else f":{parts.port}"
    except ValueError:
        return ""
    origin = f"{parts.scheme}://{host}{port}"
    return origin if _is_origin(origin) else ""


class Host(Value, str):
    """A name or an address to listen on, without a scheme or port."""

    @classmethod
    def read(cls, value: object) -> Self:
        if not isinstance(value, str):
            raise ValueError(f"{show(value)} is not text; put it in quotes")
        if not _is_host(value):
            raise ValueError(
                f"{show(value)} is not an address; write a host's name or address alone, "
                "e.g. 127.0.0.1, 0.0.0.0 or ::1 (the port is server.port)"
            )
        return cls(value)

    @staticmethod
    def schema() -> dict[str, Any]:
        return {"type": "string", "examples": ["127.0.0.1", "0.0.0.0", "::1"]}


def _is_host(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        # What ends in a number is an address, and would be a wrong one.
        return bool(_HOST_NAME.fullmatch(text)) and not text.rpartition(".")[2].isdigit()
    return True


def _default(value: Value) -> Any:
    """Return a default that msgspec leaves out of the JSON Schema: it can't write these."""
    return msgspec.field(default_factory=lambda: value)


Token = Annotated[str, Meta(min_length=8, pattern=r"^[\x21-\x7e]+\Z")]


class ServerSettings(Struct, frozen=True, kw_only=True):
    """How the server listens. Read by gunicorn.conf.py."""

    host: Annotated[Host, Meta(description="address to listen on")] = _default(Host("127.0.0.1"))
    port: Annotated[int, Meta(ge=0, le=65535, description="port to listen on")] = 8000
    workers: Annotated[int, Meta(ge=1, le=1024, description="processes")] = 2
    max_clients: Annotated[
        int,
        Meta(ge=1, le=100_000, description="streams a worker admits; each takes a thread"),
    ] = 1000
    max_clients_per_address: Annotated[
        int,
        Meta(ge=0, description="streams a worker admits from one address; `0` sets no limit"),
    ] = 0
    proxies: Annotated[
        int,
        Meta(ge=0, le=10, description="proxies in front whose `X-Forwarded-*` is believed"),
    ] = 0
    head_timeout: Annotated[
        Pause, Meta(description="a request's head must be complete within this time")
    ] = _default(Pause(10))
    body_timeout: Annotated[
        Pause,
        Meta(description="so must its body, but for what comes at 1 KiB a second or faster"),
    ] = _default(Pause(30))
    direct_send: Annotated[
        bool,
        Meta(description="whether events are written without waking the stream's thread"),
    ] = True
    queue_bytes: Annotated[
        Size,
        Meta(
            description="bytes that may wait for a worker's clients, an event counted once; then "
            "the fullest queues lose the oldest"
        ),
    ] = _default(Size(256 * 2**20))


class DatabaseSettings(Struct, frozen=True, kw_only=True):
    """Where events are kept, and for how long."""

    url: Annotated[
        str,
        Meta(
            description="`sqlite:///` and a path, relative to this file; or `redis://HOST:PORT/DB`"
        ),
    ] = "sqlite:///data/events.db"
    retention: Annotated[Interval, Meta(description="older events are pruned; `0` keeps all")] = (
        _default(Interval(30 * 86400))
    )
    retention_count: Annotated[
        int, Meta(ge=0, description="all but so many events are pruned; `0` keeps any number")
    ] = 0
    replicas: Annotated[
        int, Meta(ge=0, le=100, description="Redis replicas that must have an event, too")
    ] = 0


class IngestSettings(Struct, frozen=True, kw_only=True):
    """How events come in over HTTP."""

    path: Annotated[UrlPath, Meta(description="where events are POSTed")] = _default(
        UrlPath("/ingest")
    )
    tokens: Annotated[
        list[Token],
        Meta(description="bearer tokens that may publish; with none, nobody may"),
    ] = []
    auth: Annotated[
        Literal["token", "none"],
        Meta(description="`none` lets everybody publish who reaches the port"),
    ] = "token"
    max_body: Annotated[Size, Meta(description="largest body, as sent and as unpacked")] = (
        _default(Size(2**20))
    )
    max_batch: Annotated[int, Meta(ge=1, description="most events in one request")] = 10_000


class SinkSettings(Struct, frozen=True, kw_only=True):
    """One sink: which events it streams, where, and how patiently."""

    type: Annotated[
        Literal["sse"] | None,
        Meta(description="`sse`; may be left out where the sink's name is its type"),
    ] = None
    match: Annotated[
        Match, Meta(description="`*`, `prefix.*`, an exact type, or a list of these")
    ] = _default(Match(EVERYTHING))
    path: Annotated[UrlPath, Meta(description="appended to `/NAME/`")] = _default(UrlPath("/"))
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
    ] = _default(Pause(30))
    queue_size: Annotated[
        int, Meta(ge=1, description="frames that may wait for one client; then the oldest go")
    ] = 1000
    queue_bytes: Annotated[
        Size, Meta(description="bytes of frames that may wait for one client")
    ] = _default(Size(16 * 2**20))
    write_timeout: Annotated[
        Pause, Meta(description="a peer that takes nothing for this long is cut")
    ] = _default(Pause(30))
    retry: Annotated[Interval, Meta(description="the reconnect hint sent to EventSource")] = (
        _default(Interval(3))
    )
    replay: Annotated[
        ReplayBound,
        Meta(
            description="whether `Last-Event-ID` is honoured; `1h` or `10000` bounds how far back"
        ),
    ] = _default(ReplayBound(False))
    cors_origins: Annotated[
        list[Origin],
        Meta(description="origins whose pages may read the stream, to the letter, or `*` alone"),
    ] = []


class Settings(Struct, frozen=True, kw_only=True):
    """The whole configuration."""

    server: ServerSettings = msgspec.field(default_factory=ServerSettings)
    database: DatabaseSettings = msgspec.field(default_factory=DatabaseSettings)
    ingest: IngestSettings = msgspec.field(default_factory=IngestSettings)
    sink: dict[str, SinkSettings] = {}


def stream_url(name: str, sink: SinkSettings) -> str:
    """Return the path of the sink's stream: its name, then its own path."""
    return f"/{name}{sink.path}"


def schema() -> dict[str, Any]:
    """Return the JSON Schema (2020-12) of the configuration file."""
    _, parts = msgspec.json.schema_components(
        [Settings], schema_hook=_value_schema, ref_template="#/$defs/{name}"
    )
    for name, part in parts.items():
        part["additionalProperties"] = False
        part.pop("title", None)
        for key, rule in part.get("properties", {}).items():
            _loosen(rule)
            if name == "Settings":
                part["properties"][key] = {"anyOf": [rule, {"type": "null"}]}
    sinks = parts["Settings"]["properties"]["sink"]["anyOf"][0]
    sinks["additionalProperties"] = {"anyOf": [sinks["additionalProperties"], {"type": "null"}]}
    sinks["propertyNames"] = {"pattern": "^[A-Za-z0-9_-]+$"}
    sinks["minProperties"] = 1
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "flask-sse-sink configuration",
        "$ref": "#/$defs/Settings",
        "$defs": parts,
    }


def _value_schema(kind: type) -> dict[str, Any]:
    if not issubclass(kind, Value):
        raise NotImplementedError(f"no schema for {kind}")
    return kind.schema()


def _loosen(rule: dict[str, Any]) -> None:
    """Let a variable such as ``${PORT}`` stand where the rule wants no string."""
    if rule.get("type") in ("integer", "boolean", "number"):
        kept = {key: rule.pop(key) for key in list(rule) if key != "description"}
        rule["anyOf"] = [kept, {"type": "string", "pattern": r"\$"}]
    if rule.get("items", {}).get("pattern"):
        # Tokens are mostly variables, and ECMAScript's patterns know no \Z.
        rule["items"] = {"type": "string", "minLength": 1}
    rule.pop("default", None)


def _seconds(value: object) -> float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, (int, float)):
        return float(value) if abs(value) < 1e15 else math.inf
    if not isinstance(value, str) or not value.strip() or len(value) > 100:
        return None
    text = value.strip()
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    # pytimeparse stops at seconds: take the milliseconds off before it sees the text.
    found = re.fullmatch(r"(?P<rest>.*?)(?P<ms>\d+(?:\.\d+)?) ?ms", text)
    if not found:
        return _parsed(text)
    rest = _parsed(found["rest"].strip()) if found["rest"].strip() else 0.0
    return None if rest is None else rest + float(found["ms"]) / 1000


def _parsed(text: str) -> float | None:
    seconds = timeparse(text)
    return None if seconds is None else float(seconds)


def show(value: object) -> str:
    """Return a value as an error names it: short, and the way YAML writes it."""
    if isinstance(value, str) and "@" in value:
        # A URL with a password, perhaps one that can't be taken apart.
        return f'"{value.partition("://")[0][:20]}://…"' if "://" in value else "text with an @"
    if isinstance(value, str):
        return f'"{value}"' if len(value) <= 80 else f'"{value[:80]}…"'
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value) if abs(value) < 1e15 else "a huge number"
    if isinstance(value, (list, dict)):
        return "a list" if isinstance(value, list) else "a section"
    return f"a {type(value).__name__}"
