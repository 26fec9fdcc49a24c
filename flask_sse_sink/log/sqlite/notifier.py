"""Wakes the processes that share a log: a Unix datagram socket for each, in a folder beside it.

A ring costs a listing and a datagram a process, a wait costs nothing. It is a hint and no more:
whoever waits looks at the log itself from time to time too, so that a lost ring (a process killed
between its commit and its ring, a folder that can't be written) only costs that time.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import select
import socket
from pathlib import Path

_log = logging.getLogger(__name__)


class Notifier:
    """One process's bell, and the way to the bells of the others in the same folder.

    Anyone may :meth:`ring`; only who called :meth:`hang` is rung.
    """

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
        # A socket's address holds about 100 bytes; a folder's path may be longer.
        reach = f"/proc/self/fd/{self._folder_fd}"
        self._reach = reach if os.path.isdir(reach) else str(folder)

    def hang(self) -> None:
        """Put the bell where the others find it; a second time does nothing."""
        if self._name or self._folder_fd < 0:
            return
        name = f"{os.getpid()}-{secrets.token_hex(4)}"
        try:
            self._socket.bind(f"{self._reach}/{name}")
        except OSError as error:
            _log.warning("%s: %s; other processes' events come late", self._folder, error.strerror)
        else:
            self._name = name

    def ring(self, *, own: bool = False) -> None:
        """Wake whoever waits on another bell of the folder; on this one too where ``own``."""
        if self._folder_fd < 0:
            return
        with contextlib.suppress(OSError):
            for name in os.listdir(self._folder_fd):
                if own or name != self._name:
                    self._send(name)

    def _send(self, name: str) -> None:
        try:
            self._socket.sendto(b"\0", f"{self._reach}/{name}")
        except (ConnectionRefusedError, FileNotFoundError):
            # Nobody listens: its process died and left the socket behind.
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=self._folder_fd)
        except OSError:
            # EAGAIN: its queue is full of rings already.
            pass

    def wait(self, timeout: float) -> bool:
        """Wait for a ring, at most ``timeout`` seconds; return whether there was one."""
        if not self._poll.poll(timeout * 1000):
            return False
        with contextlib.suppress(OSError):
            while True:
                self._socket.recv(1)
        return True

    def close(self) -> None:
        """Take the bell away."""
        self._socket.close()
        if self._name:
            with contextlib.suppress(OSError):
                os.unlink(self._name, dir_fd=self._folder_fd)
        if self._folder_fd >= 0:
            os.close(self._folder_fd)
            self._folder_fd = -1
