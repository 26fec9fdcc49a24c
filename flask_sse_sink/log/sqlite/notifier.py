"""Wakes the processes that share a log, through a Unix datagram socket for each of them.

The sockets stand in a folder beside the log. To notify costs a listing of the folder and a
datagram for each process; to wait costs nothing. A notification is a hint and no more: a process
that waits also looks at the log from time to time. So a lost one (a process was killed between
its commit and its notification, or the folder can't be written) costs that time only.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import select
import socket
import threading
import time
from pathlib import Path
from typing import Protocol

_log = logging.getLogger(__name__)


class AnyNotifier(Protocol):
    """What a log needs of a :class:`Notifier`."""

    def listen(self) -> None: ...

    def notify(self, *, this_process: bool = False) -> None: ...

    def wait(self, timeout: float) -> bool: ...

    def close(self) -> None: ...


class Notifier:
    """One process's part in it: :meth:`notify` wakes the processes that called :meth:`listen`.

    The first use opens the folder, or the first one after :meth:`close`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._endpoint: _Endpoint | None = None

    def listen(self) -> None:
        """Make this process one that is notified; a second call does nothing."""
        with self._lock:
            self._opened().bind()

    def notify(self, *, this_process: bool = False) -> None:
        """Wake the other processes that listen, and this one too if ``this_process``."""
        with self._lock:
            endpoint = self._opened()
        endpoint.send(this_process)

    def wait(self, timeout: float) -> bool:
        """Wait for a notification, at most ``timeout`` seconds; return whether there was one."""
        with self._lock:
            endpoint = self._opened()
        return endpoint.wait(timeout)

    def close(self) -> None:
        """Listen no longer, and close socket and folder."""
        with self._lock:
            endpoint, self._endpoint = self._endpoint, None
        if endpoint is not None:
            endpoint.close()

    def _opened(self) -> _Endpoint:
        if self._endpoint is None:
            self._endpoint = _Endpoint(self._folder)
        return self._endpoint


class _Endpoint:
    """A socket, and the folder in which it and those of the other processes stand."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._name = ""
        self._folder_fd = -1
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._poll = select.poll()
        self._poll.register(self._socket, select.POLLIN)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            self._folder_fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        except OSError as error:
            _log.warning("%s: %s; other processes' events come late", folder, error.strerror)
        self._names: list[str] = []
        # When the folder had been changed last as the names were read.
        self._changed_ns = -1
        # A socket's address holds about 100 bytes; a folder's path may be longer.
        reach = f"/proc/self/fd/{self._folder_fd}"
        self._reach = reach if os.path.isdir(reach) else str(folder)

    def bind(self) -> None:
        """Put the socket into the folder, where the other processes find it."""
        if self._name or self._folder_fd < 0:
            return
        name = f"{os.getpid()}-{secrets.token_hex(4)}"
        try:
            self._socket.bind(f"{self._reach}/{name}")
        except OSError as error:
            _log.warning("%s: %s; other processes' events come late", self._folder, error.strerror)
        else:
            self._name = name

    def send(self, this_process: bool) -> None:
        """Send a datagram to every socket in the folder; to its own only if ``this_process``."""
        if self._folder_fd < 0:
            return
        with contextlib.suppress(OSError):
            for name in self._listed():
                if this_process or name != self._name:
                    self._send_to(name)

    def _listed(self) -> list[str]:
        """Return the names in the folder, which is read again where it may have changed.

        The time of a change has steps of some milliseconds. So names that were read within a
        second after a change are not kept.
        """
        changed_ns = os.fstat(self._folder_fd).st_mtime_ns
        if changed_ns != self._changed_ns:
            now_ns = time.time_ns()
            self._names = os.listdir(self._folder_fd)
            is_settled = changed_ns < now_ns - 1_000_000_000
            self._changed_ns = changed_ns if is_settled else -1
        return self._names

    def _send_to(self, name: str) -> None:
        try:
            self._socket.sendto(b"\0", f"{self._reach}/{name}")
        except (ConnectionRefusedError, FileNotFoundError):
            # Nobody listens: the process died and left its socket behind.
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=self._folder_fd)
        except OSError:
            # EAGAIN: the socket's queue is full of notifications already.
            pass

    def wait(self, timeout: float) -> bool:
        """Wait for datagrams, at most ``timeout`` seconds; return whether there were any."""
        if not self._poll.poll(timeout * 1000):
            return False
        with contextlib.suppress(OSError):
            while True:
                self._socket.recv(1)
        return True

    def close(self) -> None:
        """Take the socket out of the folder and close both."""
        self._socket.close()
        if self._name:
            with contextlib.suppress(OSError):
                os.unlink(self._name, dir_fd=self._folder_fd)
        if self._folder_fd >= 0:
            os.close(self._folder_fd)
            self._folder_fd = -1
