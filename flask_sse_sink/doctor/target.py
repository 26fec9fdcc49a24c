"""The URL that is examined, and the text that may be printed of what it and others say."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, urlencode, urljoin, urlsplit

from ..filters import CRITERIA

_SHOWN = 300
_UNSAFE = re.compile(r"[^\x21-\x7e\x80-\U0010ffff]")
_HIDDEN = "***"
_PORTS = {"http": 80, "https": 443}
# Values of the query that are no secrets.
_OPEN_PARAMETERS = {*CRITERIA, "probe", "since"}
_LEAST_SECRET = 4


class BadUrl(ValueError):
    """The text is no URL that can be examined; the message says what to write."""


class Target(NamedTuple):
    """Where requests go, and the headers that each of them has, beside those of its own.

    ``host`` is as it stands in the URL: without the brackets of an IPv6 address.
    """

    scheme: str
    host: str
    port: int
    path: str
    query: tuple[tuple[str, str], ...] = ()
    headers: tuple[tuple[str, str], ...] = ()

    @classmethod
    def parse(cls, text: str, headers: Iterable[tuple[str, str]] = ()) -> Target:
        """Return the target of a URL.

        :raises BadUrl: it is none, or holds a password.
        """
        try:
            parts = urlsplit(text)
            port = parts.port
            host = (parts.hostname or "").encode("idna").decode() if parts.hostname else ""
        except ValueError:
            raise BadUrl("it is no URL; write e.g. https://example.org/events_stream/") from None
        if parts.scheme not in _PORTS or not host or _UNSAFE.search(text):
            raise BadUrl("it is no URL; write http:// or https://, a host and a path")
        if "@" in parts.netloc:
            raise BadUrl(
                "it holds a user and a password; leave them out, and write e.g. "
                "--header 'Authorization: Basic …'"
            )
        return cls(
            parts.scheme,
            host,
            _PORTS[parts.scheme] if port is None else port,
            quote(parts.path or "/", safe="/%:@!$&'()*+,;=~"),
            tuple(parse_qsl(parts.query, keep_blank_values=True)),
            tuple(headers),
        )

    @property
    def origin(self) -> str:
        """Return scheme, host and port, the latter unless it is the scheme's."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        port = "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        return f"{self.scheme}://{host}{port}"

    @property
    def shown(self) -> str:
        """Return the URL without the values of its query."""
        names = "&".join(f"{name}={_HIDDEN}" for name, _ in self.query)
        return self.origin + self.path + (f"?{names}" if names else "")

    @property
    def is_loopback(self) -> bool:
        """Return whether requests stay on this machine."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost" or self.host.endswith(".localhost")

    def request_target(self, **changes: str) -> str:
        """Return path and query, with these parameters in place of those of their names."""
        query = [each for each in self.query if each[0] not in changes] + list(changes.items())
        return self.path + (f"?{urlencode(query)}" if query else "")

    def redirected(self, location: str) -> Target:
        """Return where an answer's ``Location`` leads to.

        The headers of the caller, which may hold secrets, go to the same origin alone.

        :raises BadUrl: it leads to no URL.
        """
        try:
            url = urljoin(self.origin + self.path, location)
        except ValueError:
            raise BadUrl("it is no URL; write http:// or https://, a host and a path") from None
        target = Target.parse(url, self.headers)
        return target if target.origin == self.origin else target._replace(headers=())


class Printable:
    """Makes text of servers printable: short, without control characters and secrets."""

    def __init__(
        self, headers: Iterable[tuple[str, str]], query: Iterable[tuple[str, str]]
    ) -> None:
        # Of `Bearer TOKEN` the token, wherever it stands.
        secrets = [part for _, value in headers for part in (value, value.split(" ")[-1])]
        secrets += [value for name, value in query if name not in _OPEN_PARAMETERS]
        self._secrets = sorted(
            {secret for secret in secrets if len(secret) >= _LEAST_SECRET}, key=len, reverse=True
        )

    def __call__(self, text: str, length: int = _SHOWN) -> str:
        """Return what may be printed of a text."""
        for secret in self._secrets:
            text = text.replace(secret, _HIDDEN).replace(quote(secret, safe=""), _HIDDEN)
        text = "".join(char if char.isprintable() else "?" for char in text)
        return text if len(text) <= length else text[:length] + "…"


def problem_members(body: bytes) -> Mapping[str, object]:
    """Return the members of a problem (RFC 9457) in an answer's body, none where it is no JSON."""
    try:
        members = json.loads(body)
    except ValueError:
        return {}
    return members if isinstance(members, dict) else {}
