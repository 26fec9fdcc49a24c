"""A response of gunicorn that sends its head together with the first bytes of its body."""

from __future__ import annotations

from typing import Any

from gunicorn.http.wsgi import Response

# Joining copies the bytes: for more it costs more than a second call of the system.
_MOST_BYTES = 64 * 1024


class _Collected:
    """Takes the place of a socket, and collects what is sent."""

    def __init__(self) -> None:
        self.data = b""

    def sendall(self, data: bytes) -> None:
        self.data += data


class JoinedResponse(Response):  # type: ignore[misc] # gunicorn has no types
    """Sends an answer in one call where gunicorn's own class makes one for the head alone.

    Each call costs 10 µs, lets another thread take the interpreter, and wakes the client.
    """

    sock: Any

    def write(self, arg: Any) -> None:
        if self.headers_sent or len(arg) > _MOST_BYTES:
            super().write(arg)
            return
        sock, collected = self.sock, _Collected()
        self.sock = collected
        try:
            super().write(arg)
        finally:
            self.sock = sock
            sock.sendall(collected.data)


def join(response: Any) -> None:
    """Let a response that gunicorn made be joined; one of HTTP/2 stays as it is."""
    if type(response) is Response:
        # gunicorn makes its responses in a function, which names their class.
        response.__class__ = JoinedResponse
