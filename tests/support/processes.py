"""Processes that tests start: commands, environment and ports, and which of them still run."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Self

import psutil

from support.waiting import WAIT_SECONDS, wait_until

#: The folder of the project.
ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def environment(config: Path, **more: str) -> dict[str, str]:
    """Return the environment in which a server reads this configuration file."""
    inherited = {k: v for k, v in os.environ.items() if k != "PROMETHEUS_MULTIPROC_DIR"}
    return {
        **inherited,
        "SSE_SINK_CONFIG": str(config),
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests' / 'support' / 'without_watchdog'}",
        "PYTHONUNBUFFERED": "1",
        **more,
    }


def gunicorn_command(folder: Path, *arguments: str) -> list[str]:
    """Return the command that serves the project's own app with gunicorn."""
    command = [sys.executable, "-m", "gunicorn", "-c", str(ROOT / "gunicorn.conf.py")]
    return [*command, "--chdir", str(folder), *arguments, "wsgi:app"]


def flask_command(port: int, *arguments: str) -> list[str]:
    """Return the command that serves it with Flask's development server."""
    command = [sys.executable, "-m", "flask", "--app", "wsgi", "run", "--port", str(port)]
    return [*command, *arguments]


def run_command(config: Path, *words: str) -> str:
    """Return what a command of `flask sse` prints that is run with this configuration."""
    result = subprocess.run(
        [sys.executable, "-m", "flask", "--app", "wsgi", "sse", *words],
        cwd=ROOT,
        env=environment(config),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def group_members(group: int) -> list[int]:
    """Return the pids of a process group that still run."""
    pids = []
    for pid in psutil.pids():
        with contextlib.suppress(OSError, psutil.NoSuchProcess):
            is_member = os.getpgid(pid) == group
            if is_member and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                pids.append(pid)
    return pids


def kill_all(pids: list[int]) -> None:
    """Kill those of the processes that there still are."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


class Process:
    """A process that was started with this command, and leads a group of its own.

    What it writes stands in ``server.log`` in the folder.
    """

    def __init__(self, command: list[str], folder: Path, environment: dict[str, str]) -> None:
        self.folder = folder
        self.log_file = folder / "server.log"
        with self.log_file.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    @property
    def log(self) -> str:
        return self.log_file.read_text()

    @property
    def pid(self) -> int:
        """Return the pid of the process that was started, which leads a group of its own."""
        return self._process.pid

    def workers(self) -> list[int]:
        """Return the pids of gunicorn's workers."""
        return [child.pid for child in psutil.Process(self._process.pid).children()]

    def wait_for_workers(self, count: int) -> None:
        """Return once gunicorn has so many workers."""
        wait_until(lambda: len(self.workers()) == count, f"there are {count} workers")

    def kill(self, pid: int) -> None:
        """Kill a worker, and wait until it is gone."""
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: pid not in self.workers(), "it is gone")

    @property
    def is_gone(self) -> bool:
        """Return whether the process that was started has ended."""
        return self._process.poll() is not None

    def terminate(self) -> None:
        """Tell the server to stop, and don't wait for that."""
        self._process.send_signal(signal.SIGTERM)

    def close(self) -> None:
        """End whatever there still is of a server that was killed or ended itself."""
        kill_all(group_members(self.pid))
        self._process.wait(WAIT_SECONDS)

    def stop(self) -> None:
        """End what was started, and fail if it doesn't end by itself or anything remains."""
        with contextlib.suppress(ProcessLookupError):
            if self._process.poll() is None:
                self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(WAIT_SECONDS)
        finally:
            remaining = group_members(self.pid)
            kill_all(remaining)
            self._process.wait(WAIT_SECONDS)
        assert not remaining, f"remained after SIGTERM: {remaining}\n{self.log}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
