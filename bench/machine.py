"""What is measured, and on which machine."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

import psutil

from .peers.redis import redis_binary


def machine() -> dict[str, object]:
    """Return a description of the machine."""
    model = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    return {
        "cpus": os.cpu_count(),
        "cpu": model[1] if model else platform.machine(),
        "memory_mib": psutil.virtual_memory().total >> 20,
        "system": platform.platform(),
        "load_before": os.getloadavg()[0],
    }


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Return the versions of Python, of these distributions and of the peers' programs."""
    found = {"python": platform.python_version()}
    for name in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    programs = {
        "nginx": [shutil.which("nginx") or "/usr/sbin/nginx", "-v"],
        "nchan": ["dpkg-query", "-W", "-f", "${Version}", "libnginx-mod-nchan"],
        "redis-server": [redis_binary() or "redis-server", "--version"],
    }
    for name, command in programs.items():
        if printed := _printed(*command):
            found[name] = printed
    return found


def commit(project: Path) -> str:
    """Return the commit of a checkout, with ``-dirty`` if files differ from it."""
    git = ("git", "--no-optional-locks", "-C", str(project))
    return _printed(*git, "describe", "--always", "--dirty", "--abbrev=12") or "unknown"


def _printed(*command: str) -> str:
    """Return what a command prints; nothing if it fails or isn't installed."""
    with contextlib.suppress(OSError):
        ran = subprocess.run(command, capture_output=True, text=True)
        if not ran.returncode:
            return (ran.stdout or ran.stderr).strip()
    return ""
