"""Where and what was measured."""

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


def machine() -> dict[str, object]:
    """Return what is known of the machine."""
    model = re.search(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text())
    return {
        "cpus": os.cpu_count(),
        "cpu": model[1] if model else platform.machine(),
        "memory_mib": psutil.virtual_memory().total >> 20,
        "system": platform.platform(),
        "load_before": os.getloadavg()[0],
    }


def versions(packages: Iterable[str], project: Path) -> dict[str, str]:
    """Return the version of everything that is measured, as far as it can be told."""
    found = {"python": platform.python_version()}
    for name in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[name] = importlib.metadata.version(name)
    for name, command in {
        "nginx": [shutil.which("nginx") or "/usr/sbin/nginx", "-v"],
        "nchan": ["dpkg-query", "-W", "-f", "${Version}", "libnginx-mod-nchan"],
        "redis-server": ["redis-server", "--version"],
        "commit": [
            "git",
            "--no-optional-locks",
            "-C",
            str(project),
            "describe",
            "--always",
            "--dirty",
            "--abbrev=12",
        ],
    }.items():
        with contextlib.suppress(OSError):
            ran = subprocess.run(command, capture_output=True, text=True)
            if ran.returncode == 0:
                found[name] = (ran.stdout or ran.stderr).strip()
    return found
