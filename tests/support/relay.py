"""A faulty relay of TCP connections, and a server that answers what it is told to."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import NamedTuple


class Faults(NamedTuple):
    """What is wrong with a relay.

    ``cut_at`` is the age in seconds at which it cuts each connection, ``cut_silent`` the silence
    after which it does so; 0: never. Of the server's bytes, ``collect`` are passed on together.
    """

    cut_at: float = 0.0
    cut_silent: float = 0.0
    collect: int = 0


class _Listener:
    """Runs ``handle`` on a thread of its own for each connection to ``port``."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._threads: list[threading.Thread] = []
        self._open: list[socket.socket] = []
        self._accepting = threading.Thread(target=self._accept)
        self._accepting.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(connection)
            thread = threading.Thread(target=self._run, args=(connection,))
            self._threads.append(thread)
            thread.start()

    def _run(self, connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            self.handle(connection)

    def handle(self, connection: socket.socket) -> None:
        """Serve one connection."""
        raise NotImplementedError

    def close(self) -> None:
        """End every connection and thread."""
        for each in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join()
        for thread in self._threads:
            thread.join()


class _Relay(_Listener):
    def __init__(self, port: int, faults: Faults) -> None:
        self._up_port = port
        self._faults = faults
        super().__init__()

    def handle(self, connection: socket.socket) -> None:
        faults = self._faults
        began, held = time.monotonic(), b""
        with socket.create_connection(("127.0.0.1", self._up_port)) as up:
            self._open.append(up)
            up.sendall(connection.recv(1 << 16))
            while True:
                left = faults.cut_at - (time.monotonic() - began) if faults.cut_at else 60.0
                up.settimeout(max(0.001, min(left, faults.cut_silent or 60.0)))
                try:
                    data = up.recv(1 << 16)
                except TimeoutError:
                    return
                if not data or (faults.cut_at and time.monotonic() - began >= faults.cut_at):
                    return
                held += data
                if len(held) >= faults.collect:
                    connection.sendall(held)
                    held = b""


class _Scripted(_Listener):
    def __init__(self, answer: bytes, repeated: bytes) -> None:
        self._answer = answer
        self._repeated = repeated
        super().__init__()

    def handle(self, connection: socket.socket) -> None:
        connection.recv(1 << 16)
        connection.sendall(self._answer)
        connection.settimeout(0.2)
        while self._repeated:
            with contextlib.suppress(TimeoutError):
                if not connection.recv(1 << 16):
                    return
            connection.sendall(self._repeated)


@contextlib.contextmanager
def relay(port: int, faults: Faults) -> Iterator[int]:
    """Run a relay before this port; yield its own."""
    running = _Relay(port, faults)
    try:
        yield running.port
    finally:
        running.close()


@contextlib.contextmanager
def scripted(answer: bytes, repeated: bytes = b"") -> Iterator[int]:
    """Answer each request with these bytes; yield the port.

    Then ``repeated`` is sent five times a second. Without it, the connection is closed.
    """
    running = _Scripted(answer, repeated)
    try:
        yield running.port
    finally:
        running.close()
