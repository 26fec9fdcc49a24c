"""Requests with tokens, tickets and cookies to a server."""

from __future__ import annotations

import http.cookiejar
import json
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

from support.stream import SocketStream
from support.waiting import WAIT_SECONDS


class Browser:
    """Sends requests to a port of this machine and keeps the cookies of the answers."""

    def __init__(self, port: int) -> None:
        self.port = port
        self._jar = http.cookiejar.CookieJar()
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self._jar))

    def send(
        self,
        path: str,
        data: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, str]:
        """Return the status and the body of an answer; with ``data`` it is a POST."""
        url = f"http://127.0.0.1:{self.port}{path}"
        request = urllib.request.Request(url, data, headers or {})
        try:
            with self._opener.open(request, timeout=WAIT_SECONDS) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def form(self, path: str, **fields: str) -> int:
        """Return the status of a form that was sent."""
        return self.send(path, urllib.parse.urlencode(fields).encode())[0]

    @property
    def cookie(self) -> str:
        """Return the header that sends the cookies."""
        return "; ".join(f"{each.name}={each.value}" for each in self._jar)


def ticket_url(port: int, token: str, **wanted: object) -> str:
    """Return the URL of a stream with a ticket that the token buys."""
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    status, text = Browser(port).send("/tickets", json.dumps(wanted).encode(), headers)
    assert status == 200, text
    answer: dict[str, Any] = json.loads(text)
    return str(answer["url"])


def open_stream(port: int, path: str) -> SocketStream:
    """Open a stream, past its first frame."""
    stream = SocketStream(port, path)
    assert stream.status == 200, stream.head
    first = stream.next()
    assert (first.event, first.data) == ("info", "connected")
    return stream
