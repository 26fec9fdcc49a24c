"""A server's processes: started together, ended together, and what they use."""

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

_TICK = os.sysconf("SC_CLK_TCK")
_START_SECONDS = 30.0
_STOP_SECONDS = 10.0


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


class Processes:
    """A command and all that it starts, in a session of its own."""

    def __init__(
        self,
        command: Sequence[str],
        folder: Path,
        port: int,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._log = folder / f"{Path(command[0]).name}-{port}.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                cwd=folder,
                env={**os.environ, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        try:
            self._wait(port)
        except BaseException:
            self.stop()
            raise

    def _wait(self, port: int) -> None:
        until = time.monotonic() + _START_SECONDS
        while time.monotonic() < until:
            if self._process.poll() is not None:
                raise RuntimeError(f"it ended as it started:\n{self.log[-2000:]}")
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                return
            time.sleep(0.05)
        raise RuntimeError(f"not listening after {_START_SECONDS:g} s:\n{self.log[-2000:]}")

    @property
    def log(self) -> str:
        """What the processes have printed."""
        return self._log.read_text(errors="replace")

    def _all(self) -> list[int]:
        with contextlib.suppress(psutil.NoSuchProcess):
            first = psutil.Process(self._process.pid)
            return [first.pid, *(child.pid for child in first.children(recursive=True))]
        return []

    def count(self) -> int:
        """Return how many processes there are now."""
        return len(self._all())

    def cpu_seconds(self) -> float:
        """Return the processor time, user and system, that the processes have used so far."""
        return sum(map(_cpu_seconds, self._all()))

    def pss_kib(self) -> int:
        """Return the proportional set size of the processes together."""
        found = 0
        for pid in self._all():
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    found += int(line.split()[1])
        return found

    def stop(self) -> None:
        """End the processes, by force where they don't end by themselves in ten seconds."""
        pids = self._all()
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_STOP_SECONDS)
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                # Its own session, so that a pid that was given anew is none of ours.
                if os.getsid(pid) == self._process.pid:
                    os.kill(pid, signal.SIGKILL)
        self._process.wait()


def _cpu_seconds(pid: int) -> float:
    try:
        # The id of a process's own clock (clock_getcpuclockid): nanoseconds, where
        # /proc/PID/stat counts hundredths of a second.
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        pass
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICK


def python(*arguments: str) -> list[str]:
    """Return a command line that runs this interpreter."""
    return [sys.executable, *arguments]
