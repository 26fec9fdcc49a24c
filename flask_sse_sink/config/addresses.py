"""Settings that say where something is: a URL's path, a web origin, an address to listen on."""

from __future__ import annotations

import ipaddress
import re
from typing import Any, Self
from urllib.parse import urlsplit

from .values import Value, show

# The syntax of an origin. The port's range and the form of an IPv6 address are checked apart.
_ORIGIN = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://"
    r"(?P<host>[a-z0-9_-]+(?:\.[a-z0-9_-]+)*|\[[0-9a-f:.]+\])"
    r"(?::(?P<port>[1-9][0-9]{0,4}))?"
)
_HOST_NAME = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*")
_DEFAULT_PORTS = {"http": 80, "https": 443}


class UrlPath(Value, str):
    """An absolute URL path. The configuration may leave out the slash in front."""

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
    """A web origin, written exactly as browsers send it, or ``*`` for every origin.

    Rule: RFC 6454, 6.2 "ASCII Serialization of an Origin".
    """

    @classmethod
    def read(cls, value: object) -> Self:
        text = value if isinstance(value, str) else ""
        if text == "*" or _is_origin(text):
            return cls(text)
        suggestion = _nearest_origin(text)
        raise ValueError(
            f"{show(value)} is not an origin; "
            + (f"did you mean {suggestion}? W" if suggestion else "w")
            + "rite scheme, host and port as browsers send them, with nothing after them, "
            'e.g. https://app.example or http://localhost:3000, or "*" alone for every origin'
        )

    @staticmethod
    def schema() -> dict[str, Any]:
        return {"type": "string", "examples": ["https://app.example", "http://localhost:3000"]}


def _is_origin(text: str) -> bool:
    parts = _ORIGIN.fullmatch(text)
    if parts is None or len(text) > 300:
        return False
    scheme, host, port = parts["scheme"], parts["host"], parts["port"]
    if port and (int(port) > 65535 or _DEFAULT_PORTS.get(scheme) == int(port)):
        # Browsers leave out the default port of a scheme.
        return False
    if host.startswith("["):
        try:
            return host == f"[{ipaddress.IPv6Address(host[1:-1])}]"
        except ValueError:
            return False
    return True


def _nearest_origin(text: str) -> str:
    """Return the origin that the text probably means, or "" where none is likely."""
    try:
        parts = urlsplit(text)
        host = parts.hostname or ""
        host = f"[{ipaddress.IPv6Address(host)}]" if ":" in host else host
        port = "" if parts.port in (None, _DEFAULT_PORTS.get(parts.scheme)) else f":{parts.port}"
    except ValueError:
        return ""
    origin = f"{parts.scheme}://{host}{port}"
    return origin if _is_origin(origin) else ""


class Sender(Value, str):
    """The name under which a sender of webhooks asks to send events, or ``*`` for every sender."""

    @classmethod
    def read(cls, value: object) -> Self:
        if isinstance(value, str) and (value == "*" or _HOST_NAME.fullmatch(value)):
            return cls(value.lower())
        raise ValueError(
            f"{show(value)} is not the name of a sender; write it as the sender sends it in "
            'WebHook-Request-Origin, e.g. eventgrid.azure.net, or "*" for every sender'
        )

    @staticmethod
    def schema() -> dict[str, Any]:
        return {"type": "string", "examples": ["eventgrid.azure.net", "*"]}


class Host(Value, str):
    """A host name or an IP address to listen on, without a scheme or port."""

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
        # A name whose last part is a number is a mistyped IP address.
        return bool(_HOST_NAME.fullmatch(text)) and not text.rpartition(".")[2].isdigit()
    return True
