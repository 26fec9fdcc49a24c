"""URLs of Redis: what is wrong with one, without repeating a password in it."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl, urlsplit

SENTINEL = "redis+sentinel"
CLUSTER = "redis+cluster"
SCHEMES = ("redis", "rediss", "valkey", "valkeys", "unix", SENTINEL, CLUSTER)
# Options after the question mark; the library's others can't be written as text.
_TEXTS = ("username", "password", "client_name")
_SWITCHES = ("socket_keepalive",)
# Those whose values the library turns into numbers.
_WHOLE_NUMBERS = ("db", "max_connections", "health_check_interval")
_NUMBERS = ("socket_timeout", "socket_connect_timeout", "timeout")

_NUMBER = re.compile(r"[0-9]{1,6}")
_HOST = re.compile(r"[A-Za-z0-9_.-]{1,253}|\[[0-9A-Fa-f:.]+(%[A-Za-z0-9]+)?\]")


def fault(url: str) -> str:
    """Return what is wrong with the URL and the cure, ``""`` if it is right."""
    try:
        parts = urlsplit(url)
        query = parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        return "can't be taken apart; write e.g. redis://:PASSWORD@host:6379/0"
    if parts.fragment or (parts.scheme != "unix" and "@" in parts.path + parts.query):
        return (
            "a user or password holds / ? or #, where a URL goes on; write them as %2F, %3F and "
            "%23 (in Python: urllib.parse.quote(password, safe=''))"
        )
    if parts.scheme == "unix":
        what = "" if parts.path.strip("/") else "names no socket; write unix:///path/to/redis.sock"
    else:
        what = _place_fault(parts.scheme, parts.netloc.rpartition("@")[2], parts.path)
    return what or _option_fault(query)


def without_password(url: str) -> str:
    """Return the URL without user, password and options, even if it isn't a valid URL."""
    scheme, _, rest = url.partition("://")
    # Everything before the last @ may belong to a password, even a / or ? there.
    place = re.split(r"[?#]", rest.rpartition("@")[2], maxsplit=1)[0]
    return f"{scheme}://{place}"


def _place_fault(scheme: str, hosts: str, path: str) -> str:
    for place in hosts.split(",") if scheme == SENTINEL else [hosts]:
        host, colon, port = place, "", ""
        if not place.endswith("]"):
            host, colon, port = place.rpartition(":") if ":" in place else (place, "", "")
        if not _HOST.fullmatch(host) and (host or scheme == SENTINEL):
            return "its host is no name and no address; write e.g. redis://host:6379/0"
        if colon and not (_NUMBER.fullmatch(port) and 1 <= int(port) <= 65535):
            return "its port is no number from 1 to 65535; write e.g. redis://host:6379/0"
    number = path.strip("/")
    if scheme == SENTINEL:
        service, _, number = number.partition("/")
        if not service:
            return "names no service; write e.g. redis+sentinel://host:26379/SERVICE/0"
    if number and not _NUMBER.fullmatch(number):
        return "its database is no number; write e.g. redis://host:6379/0"
    if number and int(number) and scheme == CLUSTER:
        return "a cluster has database 0 alone; leave the number out"
    return ""


def _option_fault(query: list[tuple[str, str]]) -> str:
    known = (*_WHOLE_NUMBERS, *_NUMBERS, *_TEXTS, *_SWITCHES)
    for name, value in query:
        if name not in known and not name.startswith("ssl_"):
            return f"{name[:80]!r} is no option; there are {', '.join(known)} and ssl_…"
        if name in _WHOLE_NUMBERS and not _NUMBER.fullmatch(value):
            return f"its option {name} is no whole number"
        if name in _NUMBERS and not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", value):
            return f"its option {name} is no number"
    return ""
