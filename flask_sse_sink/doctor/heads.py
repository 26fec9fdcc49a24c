"""What the head of an answer shows: its status, and its headers."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from .cures import finding
from .intermediaries import Intermediary
from .report import Finding
from .target import Printable, Target, problem_members
from .wire import Answer

_REDIRECTS = (301, 302, 303, 307, 308)
_HITS = ("x-cache", "cf-cache-status", "x-cache-status", "x-proxy-cache")
_CAUSES = {
    204: "204 tells an EventSource to stop for good",
    404: "the URL isn't a sink's: its name, its path, or what a proxy makes of it differ",
    405: "the URL is another endpoint's, or a filter refuses GET",
    429: "somebody on the way limits the requests of one address",
    500: "the server or a proxy failed",
    502: "a proxy's server is away, or crashed",
    503: "the server is full, stopping or can't reach its log; or a proxy has no server for this",
    504: "a proxy waited in vain for its server",
}


def is_redirect(answer: Answer) -> bool:
    """Return whether the answer leads elsewhere."""
    return answer.status in _REDIRECTS and bool(answer.header("location"))


def redirect_finding(
    first: Target, hops: Sequence[tuple[int, Target]], way: Sequence[Intermediary], problem: str
) -> Finding:
    """Return the finding for redirects, and ``problem``, what is wrong at their end, if it is."""
    statuses = ", ".join(str(status) for status, _ in hops)
    last = hops[-1][1]
    seen = f"{statuses} to {last.shown}"
    if problem:
        seen += f"; {problem}"
    cause = "an EventSource follows redirects, but at each reconnect again"
    if re.search(r"log-?in|sign-?in|auth|sso", last.path, re.IGNORECASE):
        cause = "a page to log in is put in the place of a stream that needs a login"
    elif last.origin != first.origin:
        cause += "; a browser sends `Origin: null` or no cookies to the other origin"
    if last.scheme == "http" and first.scheme == "https":
        cause += "; it leads from https to http, which a browser blocks on pages with TLS"
    return finding("redirect", seen, cause, way)


def status_finding(
    answer: Answer, sent_token: bool, way: Sequence[Intermediary], printable: Printable
) -> Finding:
    """Return the finding for an answer whose status isn't 200."""
    members = problem_members(answer.short_body())
    detail = members.get("detail")
    seen = f"status {answer.status}"
    if isinstance(detail, str):
        seen += f": {printable(detail)}"
    if answer.status in (401, 403, 407):
        return _auth_finding(answer, sent_token, way, (seen, members.get("reason")))
    cause = _CAUSES.get(answer.status, "an EventSource takes nothing but 200, and ends for good")
    return finding("status", seen, cause, way)


def _auth_finding(
    answer: Answer, sent_token: bool, way: Sequence[Intermediary], said: tuple[str, object]
) -> Finding:
    seen, reason = said
    scheme = answer.header("www-authenticate").partition(" ")[0].lower()
    if reason == "missing" and sent_token:
        return finding(
            "auth",
            f"{seen} (a token was sent)",
            "the header Authorization doesn't reach the server",
            way,
            "pass the header Authorization on",
        )
    if answer.status == 401 and not reason and scheme not in ("", "bearer"):
        cause = f"a proxy asks for a password ({scheme}), before the request reaches the server"
        return finding("auth", seen, cause, (), "name it: --header 'Authorization: Basic …'")
    if answer.status == 403 and not reason and not scheme:
        cause = "a filter of requests (a firewall, a bot check) refuses it, or the token grants "
        cause += "nothing of this sink"
        return finding("auth", seen, cause, (), "look into its log; let this path pass")
    word = reason if isinstance(reason, str) and reason.isidentifier() else ""
    if word == "insufficient_scope":
        return finding(
            "auth",
            seen,
            "the token is right, but grants nothing of what is asked for",
            (),
            "grant it: subscribe of this token, with the sink; `flask sse explain TYPE` shows who "
            "gets what",
        )
    cause = f"the token is refused ({word})" if sent_token and word else "the sink needs a token"
    return finding("auth", seen, cause)


def head_findings(answer: Answer, way: Sequence[Intermediary], is_ours: bool) -> Iterator[Finding]:
    """Yield what is wrong with the headers of a stream.

    ``is_ours`` says whether the server is known to be one of this package.
    """
    yield from _type_findings(answer, way)
    yield from _cache_findings(answer, way, is_ours)
    if answer.version == 10:
        yield finding(
            "http10",
            "the answer is in HTTP/1.0",
            "what answers speaks HTTP/1.0: every stream takes a connection of its own, and its "
            "end can't be told from a cut",
            way,
        )


def _type_findings(answer: Answer, way: Sequence[Intermediary]) -> Iterator[Finding]:
    content_type = answer.header("content-type")
    if answer.media_type != "text/event-stream":
        cause = "something on the way changes the header, or the URL isn't a sink's"
        if answer.media_type == "text/html":
            cause = (
                "a page is answered in place of the stream: a single-page app's fallback, "
                "a login, or a check for bots"
            )
        shown = "".join(c if c.isprintable() else "?" for c in content_type[:80])
        yield finding(
            "content_type",
            f"Content-Type is {shown or 'missing'}, not text/event-stream",
            f"{cause}; an EventSource ends for good",
            way,
        )
    elif (charset := re.search(r"charset=\"?([^\s;\"]+)", content_type)) and charset[
        1
    ].lower() not in ("utf-8", "utf8"):
        yield finding(
            "content_type",
            f"the charset is {charset[1][:20]!r}",
            "something on the way writes a charset; a stream is UTF-8 always",
            way,
        )


def _cache_findings(
    answer: Answer, way: Sequence[Intermediary], is_ours: bool
) -> Iterator[Finding]:
    control = answer.header("cache-control").lower()
    hits = [name for name in _HITS if re.search(r"\bhit\b", answer.header(name), re.IGNORECASE)]
    age = answer.header("age")
    is_forbidden = bool(re.search(r"no-store|no-cache", control))
    may_keep = bool(re.search(r"(max-age|s-maxage)\s*=\s*\"?[1-9]|public", control))
    shown = "".join(c if c.isprintable() else "?" for c in control[:80])
    if hits or (age.isdigit() and int(age) > 0):
        seen = f"{hits[0]}: HIT" if hits else f"Age: {age[:12]}"
        yield finding("caching", seen, "a cache answers in the server's place", way)
    elif not is_forbidden and may_keep:
        cause = "something on the way allows caches to keep the stream"
        yield finding("caching", f"Cache-Control: {shown}", cause, way)
    elif is_ours and not is_forbidden:
        cause = "something on the way takes `no-cache, no-transform` away, which keeps caches and "
        cause += "compressors from the stream"
        yield finding("caching", f"Cache-Control is {shown or 'missing'}", cause, way)


def cors_finding(
    answer: Answer, origin: str, way: Sequence[Intermediary], printable: Printable
) -> Finding | None:
    """Return what keeps pages of the origin, "" for none, from reading the answer."""
    allowed = answer.all("access-control-allow-origin")
    values = [part.strip() for line in allowed for part in line.split(",")]
    if len(values) > 1:
        shown = printable(", ".join(values))
        return finding(
            "cors",
            f"Access-Control-Allow-Origin has {len(values)} values: {shown}",
            "the server and something before it both write the header; browsers accept one value",
            way,
            "let one of the two write it: the sink's cors_origins, or the proxy",
        )
    if not origin:
        return None
    if not values:
        return finding(
            "cors",
            f"no Access-Control-Allow-Origin for {origin}",
            "the sink's cors_origins doesn't name this origin, or the header is taken away",
            (),
            f'set cors_origins: ["{origin}"] for the sink',
        )
    if values[0] not in ("*", origin):
        return finding(
            "cors",
            f"Access-Control-Allow-Origin is {printable(values[0])}, not {origin}",
            "another origin is allowed alone, or a cache keeps the answer for another one",
            (),
            f'set cors_origins: ["{origin}"] for the sink, and let caches heed Vary: Origin',
        )
    if values[0] == "*" and answer.header("access-control-allow-credentials") == "true":
        return finding(
            "cors",
            "Access-Control-Allow-Origin is * with Access-Control-Allow-Credentials: true",
            "browsers refuse this pair for requests with cookies",
            (),
            f'set cors_origins: ["{origin}"] and cors_credentials: true for the sink',
        )
    return None
