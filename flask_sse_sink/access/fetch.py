"""Fetches a small document over HTTP within a fixed time."""

from __future__ import annotations

import io
import socket
import ssl
import time
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

#: For the whole fetch, in seconds. The resolution of the host's name alone isn't bounded by it.
TIMEOUT_SECONDS = 3.0
MAX_BYTES = 2**20

_HEADERS = {
    "Accept": "application/jwk-set+json, application/json",
    "Connection": "close",
    "User-Agent": "flask-sse-sink",
}


class FetchFailed(Exception):
    """The document can't be had; the message says why."""


def fetch(url: str) -> bytes:
    """Return the body that a URL answers with. Redirects aren't followed.

    :raises FetchFailed: the answer isn't a 200 with at most :data:`MAX_BYTES`, or not in time.
    """
    deadline = time.monotonic() + TIMEOUT_SECONDS
    try:
        return _fetched(url, deadline)
    except TimeoutError:
        raise FetchFailed(f"no whole answer within {TIMEOUT_SECONDS:g} seconds") from None
    except (OSError, HTTPException, ValueError) as error:
        raise FetchFailed(f"{type(error).__name__}: {error}") from error


def read_file(path: str) -> bytes:
    """Return what a file holds.

    :raises FetchFailed: it can't be read, or has more than :data:`MAX_BYTES`.
    """
    try:
        with Path(path).open("rb") as file:
            return _bounded(file.read)
    except OSError as error:
        raise FetchFailed(f"{path} can't be read ({error.strerror})") from error


def _bounded(read: Callable[[int], bytes]) -> bytes:
    data = read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise FetchFailed(f"more than {MAX_BYTES} bytes")
    return data


def _fetched(url: str, deadline: float) -> bytes:
    parts = urlsplit(url)
    host = parts.hostname or ""
    is_tls = parts.scheme == "https"
    port = parts.port or (443 if is_tls else 80)
    channel = socket.create_connection((host, port), timeout=_left(deadline))
    try:
        if is_tls:
            channel.settimeout(_left(deadline))
            channel = ssl.create_default_context().wrap_socket(channel, server_hostname=host)
        connection = HTTPConnection(host, port)
        # As the standard library allows it: a connection with a socket doesn't open one.
        connection.sock = _WithDeadline(channel, deadline)
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        connection.request("GET", target, headers=_HEADERS)
        with connection.getresponse() as response:
            if response.status != 200:
                raise FetchFailed(
                    f"it answers {response.status}"
                    + (", and redirects aren't followed" if response.status // 100 == 3 else "")
                )
            return _bounded(response.read)
    finally:
        channel.close()


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


class _WithDeadline:
    """A socket, as :mod:`http.client` uses one, whose every wait ends at one deadline.

    A socket's own timeout begins anew with each byte that comes.
    """

    def __init__(self, channel: socket.socket, deadline: float) -> None:
        self._channel = channel
        self._deadline = deadline

    def sendall(self, data: Any) -> None:
        self._channel.settimeout(_left(self._deadline))
        self._channel.sendall(data)

    def makefile(self, mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Reader(self._channel, self._deadline))

    def close(self) -> None:
        """Do nothing: the response is still to be read, and the caller closes the socket."""


class _Reader(io.RawIOBase):
    """Reads from a socket until a deadline."""

    def __init__(self, channel: socket.socket, deadline: float) -> None:
        self._channel = channel
        self._deadline = deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._channel.settimeout(_left(self._deadline))
        return self._channel.recv_into(buffer)
