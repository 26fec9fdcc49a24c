"""A stream's connection to its peer, where the server hands out the socket."""

from __future__ import annotations

import contextlib
import errno
import select
import socket
from collections.abc import Mapping
from typing import Any, Self

# The kernel's timeout is longer than ours by this much: when the kernel cuts a connection, the
# stream can't tell why it ended.
KERNEL_MARGIN_SECONDS = 2.0
# The kernel's errors for a peer that stopped answering.
SILENCE = (errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH)

_TCP_INFO_BYTES_ACKED = slice(120, 128)


class Connection:
    """A connection that belongs to one stream alone: HTTP/1, over TCP or a Unix socket."""

    __slots__ = ("_socket", "_tcp")

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._tcp = connection.family in (socket.AF_INET, socket.AF_INET6)

    @classmethod
    def of(cls, environ: Mapping[str, Any]) -> Self | None:
        """Return the connection of a request, None where the server doesn't hand out its socket.

        None for HTTP/2 as well: its streams share one connection, so that none of them may cut it.
        """
        connection = environ.get("gunicorn.socket") or environ.get("werkzeug.socket")
        # SERVER_PROTOCOL, not HTTP_VERSION, which would be a header that any client can send.
        if environ.get("SERVER_PROTOCOL") not in ("HTTP/1.1", "HTTP/1.0"):
            return None
        return cls(connection) if isinstance(connection, socket.socket) else None

    def fileno(self) -> int:
        """Return the socket's descriptor, -1 once the socket is closed."""
        return self._socket.fileno()

    def set_timeouts(self, write_timeout: float) -> None:
        """Have the kernel end the connection soon after a peer was silent for ``write_timeout``.

        ``write_timeout`` is in seconds. The kernel does so whether or not anything is sent.
        """
        if not self._tcp:
            return
        seconds = max(1, round(write_timeout))
        options = {
            "TCP_KEEPIDLE": max(1, seconds // 2),
            "TCP_KEEPINTVL": max(1, seconds // 4),
            "TCP_KEEPCNT": 4,
            "TCP_USER_TIMEOUT": round((write_timeout + KERNEL_MARGIN_SECONDS) * 1000),
        }
        with contextlib.suppress(OSError):
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for name, value in options.items():
                option: int | None = getattr(socket, name, None)
                if option is not None:
                    self._socket.setsockopt(socket.IPPROTO_TCP, option, value)

    def cut(self) -> None:
        """End the connection in both directions; a thread that is blocked in a write is woken.

        What was written before still goes out.
        """
        with contextlib.suppress(OSError):
            # Not the method of a TLS socket, which would make later writes go out as plain text.
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def is_gone(self) -> bool:
        """Return whether the peer has closed the connection, or its sending side."""
        poll = select.poll()
        try:
            poll.register(self._socket, getattr(select, "POLLRDHUP", 0))
        except (OSError, ValueError):
            return True
        return bool(poll.poll(0))

    def is_silent(self) -> bool:
        """Return whether the kernel gave up on a peer that didn't answer; it reports that once."""
        with contextlib.suppress(OSError):
            return self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) in SILENCE
        return False

    def acknowledged(self) -> int:
        """Return how many bytes the peer has acknowledged, 0 where the system can't tell."""
        option: int | None = getattr(socket, "TCP_INFO", None)
        if self._tcp and option is not None:
            with contextlib.suppress(OSError):
                info = self._socket.getsockopt(socket.IPPROTO_TCP, option, 256)
                return int.from_bytes(info[_TCP_INFO_BYTES_ACKED], "little")
        return 0
