"""A server's processes: started together, ended together, and the resources that they use."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

_START_SECONDS = 30.0
_STOP_SECONDS = 10.0


def free_port() -> int:
    """Return a port of loopback that no process listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def python(*arguments: str) -> list[str]:
    """Return a command line that runs this interpreter."""
    return [sys.executable, *arguments]


class Processes:
    """A command and the processes that it starts; leaving the context ends them.

    Entering it waits until the command listens on the port.

    :raises RuntimeError: it doesn't; the message holds what it printed.
    """

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        port: int,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.port = port
        self._before_restart: set[int] = set()
        self._log = folder / f"{Path(command[0]).name}-{port}.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                cwd=folder,
                env={**os.environ, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # Ctrl-C goes to the benchmark alone, which then ends its servers in order.
                start_new_session=True,
            )

    def __enter__(self) -> Processes:
        try:
            self._wait()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def _wait(self) -> None:
        until = time.monotonic() + _START_SECONDS
        while time.monotonic() < until:
            if self._process.poll() is not None:
                raise RuntimeError(f"the server ended while it started:\n{self._printed()}")
            with (
                contextlib.suppress(OSError),
                socket.create_connection(("127.0.0.1", self.port), 1),
            ):
                return
            time.sleep(0.05)
        raise RuntimeError(f"not listening after {_START_SECONDS:g} s:\n{self._printed()}")

    def _printed(self) -> str:
        return self._log.read_text(errors="replace")[-2000:]

    def _all(self) -> list[psutil.Process]:
        with contextlib.suppress(psutil.NoSuchProcess):
            first = psutil.Process(self._process.pid)
            return [first, *first.children(recursive=True)]
        return []

    def cpu_seconds(self) -> float:
        """Return the processor time, user and system, that the processes have used so far."""
        return sum(map(_cpu_seconds, self._all()))

    def pss_kib(self) -> float:
        """Return the proportional set size of all the processes together."""
        return sum(float(each.memory_full_info().pss) for each in self._all()) / 1024

    def restart(self) -> None:
        """Have gunicorn replace its workers; the port stays open meanwhile."""
        self._before_restart = {each.pid for each in self._all()}
        self._process.send_signal(signal.SIGHUP)

    def cpu_seconds_since_restart(self) -> float:
        """Return the processor time of the processes that began after the restart."""
        began = (each for each in self._all() if each.pid not in self._before_restart)
        return sum(map(_cpu_seconds, began))

    def _stop(self) -> None:
        """End the processes; kill those that haven't ended after ten seconds."""
        # psutil remembers when each process began, so it never kills a stranger of the same id.
        processes = self._all()
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP_SECONDS)
        for each in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        self._process.wait()


def _cpu_seconds(process: psutil.Process) -> float:
    try:
        # The process's own clock (see clock_getcpuclockid(3)) counts nanoseconds, while psutil
        # reads hundredths of a second.
        return time.clock_gettime((~process.pid << 3) | 2)
    except OSError:
        pass
    with contextlib.suppress(psutil.NoSuchProcess):
        used = process.cpu_times()
        return float(used.user + used.system)
    return 0.0
