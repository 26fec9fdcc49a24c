"""The other end of a stream: its connection, as far as the server hands it out."""

from __future__ import annotations

import contextlib
import errno
import select
import socket
from collections.abc import Mapping
from typing import Any, Self

# The kernel's own limit stands behind ours by this much: it can't tell why it cut, we can.
KERNEL_MARGIN_SECONDS = 2.0
# What the kernel says of a peer that stopped answering.
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
        """Return the request's peer, None where the server keeps the connection to itself.

        Or where streams share it: the one connection of HTTP/2 is nobody's to cut.
        """
        found = environ.get("gunicorn.socket") or environ.get("werkzeug.socket")
        # HTTP_VERSION would be a header that anybody can send.
        if environ.get("SERVER_PROTOCOL") not in ("HTTP/1.1", "HTTP/1.0"):
            return None
        return cls(found) if isinstance(found, socket.socket) else None

    def fileno(self) -> int:
        """Return the descriptor, -1 once it is closed."""
        return self._socket.fileno()

    def guard(self, write_timeout: float) -> None:
        """Let the kernel end the connection where the peer has been silent for long.

        That is soon after ``write_timeout`` seconds, whether or not anything is sent meanwhile.
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
        """End the connection both ways, which also wakes a thread that is stuck writing to it.

        What was written before still goes out.
        """
        with contextlib.suppress(OSError):
            # Not the method of a TLS socket: that one would let another thread write plain text.
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def gone(self) -> bool:
        """Return whether the peer has closed the connection, or its sending side."""
        poll = select.poll()
        try:
            poll.register(self._socket, getattr(select, "POLLRDHUP", 0))
        except (OSError, ValueError):
            return True
        return bool(poll.poll(0))

    def silent(self) -> bool:
        """Return whether the kernel gave up on a peer that didn't answer; it says so once."""
        with contextlib.suppress(OSError):
            return self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) in SILENCE
        return False

    def taken(self) -> int:
        """Return how many bytes the peer has acknowledged, 0 where the system can't tell."""
        option: int | None = getattr(socket, "TCP_INFO", None)
        if self._tcp and option is not None:
            with contextlib.suppress(OSError):
                info = self._socket.getsockopt(socket.IPPROTO_TCP, option, 256)
                return int.from_bytes(info[_TCP_INFO_BYTES_ACKED], "little")
        return 0
