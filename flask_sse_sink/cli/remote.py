"""Requests to a running server. Needs the library urllib3."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import click
import msgspec
import urllib3
from urllib3.exceptions import HTTPError

from .. import __version__
from .texts import shown, without_query

#: How often a request is sent again that got no answer, or one that passes by itself.
RETRIES = 5
_FIRST_DELAY_SECONDS = 0.5
_LONGEST_DELAY_SECONDS = 30.0
# Answers that the same request may not get a second time.
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_TIMEOUT = urllib3.Timeout(connect=10, read=60)
# Bytes of an answer that are read.
_MOST = 16 * 2**20


class Problem(NamedTuple):
    """Why a server refused a request: its status, its words, and what it says of each event."""

    status: int
    reason: str
    faults: Mapping[int, str]

    @classmethod
    def read(cls, status: int, body: bytes) -> Problem:
        """Return what an answer says; a body that is no ``application/problem+json`` says nothing.

        Rule: RFC 9457 "Problem Details for HTTP APIs".
        """
        try:
            content = msgspec.json.decode(body)
        except (msgspec.DecodeError, RecursionError):
            content = None
        if not isinstance(content, dict):
            return cls(status, "", {})
        words = [str(content[key]) for key in ("title", "detail") if content.get(key)]
        faults = content.get("errors")
        return cls(
            status,
            shown(": ".join(words)),
            dict(_faults(faults if isinstance(faults, list) else [])),
        )

    @property
    def text(self) -> str:
        """Return it as it stands in a message."""
        return f"answered {self.status}" + (f" ({self.reason})" if self.reason else "")


def _faults(faults: list[Any]) -> Iterable[tuple[int, str]]:
    """Yield the index of an event, and what is wrong with it, as ``POST /ingest`` says it."""
    for fault in faults:
        loc = str(fault.get("loc", "")) if isinstance(fault, dict) else ""
        index, closed, rest = loc.removeprefix("[").partition("]")
        if loc.startswith("[") and closed and index.isascii() and index.isdigit():
            where = f"{rest.removeprefix('.')}: " if rest else ""
            yield int(index), shown(f"{where}{fault.get('msg', '')}")


class Refused(click.ClickException):
    """The server doesn't take a request, and wouldn't take it again."""

    def __init__(self, url: str, problem: Problem) -> None:
        hint = "; put a token that is valid into SSE_SINK_TOKEN" if problem.status == 401 else ""
        super().__init__(f"{without_query(url)} {problem.text}{hint}")
        self.problem = problem


class Unreachable(click.ClickException):
    """Nobody answers there, or not with HTTP."""


class RemoteServer:
    """A server, to which every request carries the token, if there is one."""

    def __init__(self, token: str = "") -> None:
        self._http = urllib3.PoolManager(timeout=_TIMEOUT, retries=False)
        self._headers = {"User-Agent": f"flask-sse-sink/{__version__}"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"

    def __enter__(self) -> RemoteServer:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.clear()

    def get(self, url: str, retries: int = 0) -> bytes:
        """Return the body of the answer.

        :raises Refused: the server refuses it.
        :raises Unreachable: it doesn't answer.
        """
        return self._ask("GET", url, retries=retries)

    def post(self, url: str, body: bytes, content_type: str) -> bytes:
        """Send a body, again and again while the server is away, and return the answer's body.

        :raises Refused: the server refuses it.
        :raises Unreachable: it doesn't answer.
        """
        return self._ask("POST", url, body, {"Content-Type": content_type}, RETRIES)

    def _ask(
        self,
        method: str,
        url: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        retries: int = 0,
    ) -> bytes:
        delay = _FIRST_DELAY_SECONDS
        for left in range(retries, -1, -1):
            pause = delay * random.uniform(0.8, 1.2)
            refusal: click.ClickException
            try:
                status, content, retry_after = self._answer(method, url, body, headers)
            except (HTTPError, OSError) as error:
                reason = why(error)
                refusal = Unreachable(f"{without_query(url)}: {reason}")
                if is_lasting(error):
                    raise refusal from error
            else:
                if status < 300:
                    return content
                problem = Problem.read(status, content)
                reason, refusal = problem.text, Refused(url, problem)
                if status not in _PASSING:
                    raise refusal
                pause = max(pause, min(retry_after, _LONGEST_DELAY_SECONDS))
            if not left:
                raise refusal
            click.echo(f"# {reason}; trying again in {pause:.1f} s", err=True)
            time.sleep(pause)
            delay = min(_LONGEST_DELAY_SECONDS, delay * 2)
        raise AssertionError("unreachable")

    def _answer(
        self, method: str, url: str, body: bytes | None, headers: Mapping[str, str] | None
    ) -> tuple[int, bytes, float]:
        """Return the status and the body of the answer, and how many seconds it says to wait."""
        response = self._http.request(
            method,
            url,
            body=body,
            headers={**self._headers, **(headers or {})},
            redirect=False,
            preload_content=False,
        )
        try:
            content = response.read(_MOST)
            wait = response.headers.get("Retry-After", "")
            where = response.headers.get("Location", "")
        finally:
            response.release_conn()
        if 300 <= response.status < 400:
            detail = f"it leads to {without_query(where)}; name that URL"
            content = msgspec.json.encode({"detail": detail})
        return response.status, content, float(wait) if wait.isascii() and wait.isdigit() else 0.0


_UNTRUSTED = "CERTIFICATE_VERIFY_FAILED"


def is_lasting(error: Exception) -> bool:
    """Return whether a connection would fail again for the same reason."""
    return _UNTRUSTED in str(error)


def why(error: Exception) -> str:
    """Return what went wrong with a connection, with a cure."""
    text = shown(str(error))
    if is_lasting(error):
        reason = text.partition("certificate verify failed: ")[2].partition(" (_ssl")[0]
        return (
            f"its certificate isn't trusted ({reason}); name the file with the certificate of "
            "its authority in SSL_CERT_FILE"
        )
    for name, words in (
        ("NameResolutionError", "there is no such host; mend the URL"),
        ("NewConnectionError", "nobody listens there; start the server, or mend host and port"),
        ("ConnectTimeoutError", "no connection within 10 s; is the host right?"),
        ("ReadTimeoutError", "no answer within 60 s"),
        ("SSLError", f"TLS: {text}; is the certificate right, and is it https?"),
    ):
        if any(each.__name__ == name for each in type(error).__mro__):
            return words
    return f"{text or type(error).__name__}; is this an HTTP server?"
