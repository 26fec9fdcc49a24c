"""Text from elsewhere, made safe for a terminal; URLs without what is secret."""

from __future__ import annotations

from urllib.parse import urlsplit, urlunsplit

import click

_LONGEST = 500


def shown(text: str, longest: int = _LONGEST) -> str:
    """Return a text in one line, without what would change the terminal, and not too long."""
    text = printable(text[: longest + 1])
    return text if len(text) <= longest else f"{text[:longest]}…"


def printable(text: str) -> str:
    """Return a text with escapes in place of its control characters."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def without_query(url: str) -> str:
    """Return a URL without its query and password, in which a ticket or a token may stand."""
    try:
        parts = urlsplit(url)
        host = parts.netloc.rpartition("@")[2]
        return shown(urlunsplit((parts.scheme, host, parts.path, "", "")))
    except ValueError:
        return "the URL"


def http_url(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    """Return the URL of an option or argument.

    :raises click.BadParameter: it is none that a server can have.
    """
    if value is None:
        return None
    if problem := url_problem(value):
        raise click.BadParameter(problem)
    return value


def url_problem(url: str) -> str:
    """Return why this is no URL of an HTTP server, with the cure; empty if it is one."""
    cure = "write e.g. http://127.0.0.1:8000"
    try:
        parts = urlsplit(url)
        usable = bool(parts.hostname) and (parts.port is None or 0 < parts.port < 65536)
    except ValueError:
        return f"is no URL; {cure}"
    if parts.scheme not in ("http", "https") or not usable or not url.isprintable() or " " in url:
        return f"is no URL of a server; {cure}"
    if "@" in parts.netloc:
        return "has a name or a password; put a token into SSE_SINK_TOKEN instead"
    return ""
