"""Tables of the settings, from the types in ``flask_sse_sink.config``."""

from __future__ import annotations

import types
import typing
from collections.abc import Iterator
from typing import Any

import msgspec
import yaml
from msgspec import NODEFAULT, Meta, Struct

from flask_sse_sink.config import addresses, grants, values
from flask_sse_sink.config.access_settings import CookieName, IssuerKey, Jwks, Secrets, TokenDigest
from flask_sse_sink.config.settings import Settings
from flask_sse_sink.config.sink_types import SINK_TYPES

from .parts import table

#: What the tables call the values of a type with a text format of its own.
WORDS: dict[type, str] = {
    values.Interval: "interval",
    values.Size: "size",
    values.Match: "pattern, or a list",
    values.ReplayBound: "`true`, `false`, interval or number",
    addresses.UrlPath: "path",
    addresses.Host: "host name or address",
    addresses.Origin: "origin",
    addresses.Sender: "name",
    grants.Texts: "text, or a list",
    CookieName: "text",
    IssuerKey: "text",
    Jwks: "URL or path",
    Secrets: "text, or a list",
    TokenDigest: "text",
}
#: Where more is said of a setting.
MORE = {
    "server.log_format": "[logs as JSON](monitoring.md#logs-as-json)",
    "server.direct_send": "[direct send](performance.md#direct-send)",
    "server.console": "[the console](console.md)",
    "database.url": "[many machines](many-machines.md)",
    "database.retention_hold": "[pulled sinks](pulled-sinks.md#retention)",
    "ingest.trace": "[traces](cloudevents.md#traces)",
    "ingest.webhook_senders": "[webhooks](cloudevents.md#webhooks)",
    "access.tokens": "[access](access.md)",
    "access.issuers": "[access](access.md)",
    "sink.NAME.type": "[pulled sinks](pulled-sinks.md#settings)",
    "sink.NAME.format": "[CloudEvents](cloudevents.md)",
    "sink.NAME.replay": "[replay](replay.md)",
    "sink.NAME.access": "[access](access.md)",
}
_HEADINGS = ("setting", "value", "default", "")
_UNITS = (("d", 86400), ("h", 3600), ("s", 1))


def server_tables() -> str:
    """Return the tables of every section, with the settings of sinks of type ``sse``."""
    sections = typing.get_type_hints(Settings)
    parts = []
    for field in msgspec.structs.fields(Settings):
        is_sink = field.name == "sink"
        kind = SINK_TYPES["sse"].settings if is_sink else sections[field.name]
        name = "sink.NAME" if is_sink else field.name
        title = f"### {name}, of type `sse`" if is_sink else f"### {name}"
        parts.append(f"{title}\n\n{table(_HEADINGS, list(_rows(kind, f'{name}.')))}")
        if field.name == "access":
            rows = _rows(grants.ReadGrantSettings, "")
            parts.append(f"### A grant\n\n{table(_HEADINGS, list(rows))}")
    return "\n\n".join(parts)


def pulled_table() -> str:
    """Return the table of the settings of sinks of type ``http_pull``, without their section."""
    return table(_HEADINGS, list(_rows(SINK_TYPES["http_pull"].settings, "")))


def _rows(kind: type[Struct], prefix: str) -> Iterator[tuple[str, ...]]:
    hints = typing.get_type_hints(kind, include_extras=True)
    for field in msgspec.structs.fields(kind):
        name, hint = f"{prefix}{field.name}", hints[field.name]
        inner = _inner(hint)
        described = _description(hint)
        if name in MORE:
            described = f"{described}: {MORE[name]}"
        if not described and inner:
            described = (inner.__doc__ or "").partition("\n")[0].rstrip(".").replace("``", "`")
        yield f"`{name}`", _value(hint), _default(field), described
        if inner and not issubclass(inner, grants.PublishGrantSettings):
            yield from _rows(inner, f"{name}[]." if _is_list(hint) else f"{name}.")


def _bare(hint: Any) -> Any:
    """Return a type without what annotates it."""
    while typing.get_origin(hint) is typing.Annotated:
        hint = typing.get_args(hint)[0]
    return hint


def _is_list(hint: Any) -> bool:
    return typing.get_origin(_bare(hint)) is list


def _inner(hint: Any) -> type[Struct] | None:
    """Return the Struct that a field, or each item of its list, is; None for plain values."""
    kind = _bare(typing.get_args(_bare(hint))[0] if _is_list(hint) else hint)
    return kind if isinstance(kind, type) and issubclass(kind, Struct) else None


def _metas(hint: Any) -> list[Meta]:
    annotated = typing.get_args(hint) if typing.get_origin(hint) is typing.Annotated else ()
    return [each for each in annotated if isinstance(each, Meta)]


def _description(hint: Any) -> str:
    return next((meta.description for meta in _metas(hint) if meta.description), "")


def _value(hint: Any) -> str:
    """Return in a few words which values a setting may have."""
    kind = _bare(hint)
    if isinstance(kind, types.GenericAlias):
        item = _bare(typing.get_args(kind)[-1])
        if typing.get_origin(kind) is dict:
            return f"{_value(item)} by type"
        inner = _inner(item)
        if inner and issubclass(inner, grants.PublishGrantSettings):
            return "list of [grants](#a-grant)"
        return "list" if typing.get_origin(item) or inner else f"list of {_value(item)}"
    if typing.get_origin(kind) is typing.Literal:
        return ", ".join(f"`{value}`" for value in typing.get_args(kind))
    if kind is bool:
        return "`true`, `false`"
    if kind is int:
        return _bounds(_metas(hint))
    if issubclass(kind, Struct):
        return "section"
    return next((word for known, word in WORDS.items() if issubclass(kind, known)), "text")


def _bounds(metas: list[Meta]) -> str:
    least = next((meta.ge for meta in metas if meta.ge is not None), None)
    most = next((meta.le for meta in metas if meta.le is not None), None)
    if most is not None:
        return f"{least:,} to {most:,}"
    return "number" if least is None else f"{least:,} or more"


def _default(field: msgspec.structs.FieldInfo) -> str:
    made = field.default_factory
    value = field.default if made is NODEFAULT else made()
    text = _written(value)
    return f"`{text}`" if text else ""


def _written(value: Any) -> str:
    """Return a default as the configuration has it, "" for one that stands for nothing."""
    if isinstance(value, values.Interval):
        unit, seconds = next(each for each in _UNITS if value % each[1] == 0)
        return f"{value / seconds:.0f}{unit}" if value else "0"
    if isinstance(value, values.Size):
        unit, size = next(u for u in (("MiB", 2**20), ("KiB", 2**10)) if value % u[1] == 0)
        return f"{value // size}{unit}"
    if isinstance(value, values.Match):
        return "*"
    if isinstance(value, values.ReplayBound):
        return str(value.on).lower()
    if isinstance(value, Struct):
        pairs = ((f.name, _written(getattr(value, f.name))) for f in msgspec.structs.fields(value))
        return "{" + ", ".join(f"{name}: {text}" for name, text in pairs) + "}"
    if isinstance(value, (Secrets, TokenDigest, IssuerKey, grants.Texts)):
        return ""
    if isinstance(value, list):
        return "[" + ", ".join(_written(item) for item in value) + "]"
    plain = str(value) if isinstance(value, str) else value
    if plain == "":
        return ""
    return yaml.safe_dump(plain, default_flow_style=True).removesuffix("...\n").strip()
