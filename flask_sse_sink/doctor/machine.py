"""What this machine lets a server have: descriptors, threads, and room on a disk."""

from __future__ import annotations

import os
import resource
import shutil
from pathlib import Path
from typing import NamedTuple

from ..config.settings import ServerSettings
from ..stream.capacity import reserve, streams_in_descriptors
from .report import Finding, Report

# Threads of a worker that are neither streams' nor requests'.
_OTHER_THREADS = 12
# Below this, a disk is full soon.
_LEAST_FREE_BYTES = 256 * 2**20
# SQLite's write-ahead log needs memory that processes share, and locks that hold.
_NETWORK_FILESYSTEMS = ("nfs", "cifs", "smb", "fuse.sshfs", "fuse.glusterfs", "ceph", "afs")
_UNLIMITED = 10**12


class Limits(NamedTuple):
    """Limits of this process, and of what runs beside it: open files, and threads."""

    descriptors: int
    threads: int
    #: What sets the limit of threads.
    threads_by: str = ""


def limits_here(root: Path = Path("/")) -> Limits:
    """Return the limits of this process. ``root`` is where the system's files are."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    soft_threads, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    bounds = []
    # The limit of processes doesn't bind root.
    if soft_threads != resource.RLIM_INFINITY and os.geteuid():
        bounds.append((soft_threads, "`ulimit -u`"))
    bounds += [(count, "the control group's pids.max") for count in _pids_max(root)]
    if (text := _read(root / "proc/sys/kernel/threads-max")).isdigit():
        bounds.append((int(text), "kernel.threads-max"))
    threads, by = min(bounds, default=(_UNLIMITED, ""))
    return Limits(_UNLIMITED if hard == resource.RLIM_INFINITY else hard, threads, by)


def _pids_max(root: Path) -> list[int]:
    """Return the limits of this process's control group, and of the groups that it is in."""
    group = ""
    for line in _read(root / "proc/self/cgroup").splitlines():
        if line.startswith("0::"):
            group = line.removeprefix("0::").strip("/")
    top = root / "sys/fs/cgroup"
    folders = [top / group, *(top / group).parents]
    found = [_read(folder / "pids.max") for folder in folders if folder.is_relative_to(top)]
    return [int(text) for text in found if text.isdigit()]


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except (OSError, ValueError):
        return ""


def check_limits(report: Report, server: ServerSettings, limits: Limits) -> None:
    """Check that a server with these settings can have what it needs."""
    streams = streams_in_descriptors(limits.descriptors)
    here = f"{limits.descriptors} open files"
    if streams < server.max_clients:
        report.find(
            Finding(
                "descriptors",
                f"a process may have {here}: {streams} streams in place of "
                f"{server.max_clients} (server.max_clients)",
                "the limit is too low where this command runs; the server's may differ",
                "raise it: LimitNOFILE=65536 in a unit of systemd, --ulimit nofile=65536 for a "
                "container, or `ulimit -Hn`; or lower server.max_clients",
            )
        )
    else:
        report.ok("descriptors", f"{here} are enough for {server.max_clients} streams")
    threads = server.max_clients + reserve(server.max_clients) + _OTHER_THREADS
    wanted = server.workers * threads
    if wanted > limits.threads:
        report.find(
            Finding(
                "threads",
                f"{limits.threads} threads are allowed by {limits.threads_by}; {server.workers} "
                f"workers with {server.max_clients} streams each need {wanted}",
                "each stream takes a thread; where none can be started, connections wait",
                "raise it: TasksMax=infinity in a unit of systemd, --pids-limit=-1 for a "
                "container; or lower server.max_clients or server.workers",
            )
        )
    else:
        report.ok("threads", f"{wanted} are needed at most")


class Disk(NamedTuple):
    """The disk that a file is on, and its kind of filesystem."""

    free: int
    total: int
    filesystem: str


def disk_of(path: Path, root: Path = Path("/")) -> Disk:
    """Return the disk of a file, which needn't be there.

    :raises OSError: not even its folder can be reached.
    """
    folder = path.absolute()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    usage = shutil.disk_usage(folder)
    best, kind = "", ""
    for line in _read(root / "proc/self/mounts").splitlines():
        parts = line.split(" ")
        # Spaces in names are written as \040.
        place = parts[1].replace("\\040", " ") if len(parts) > 2 else ""
        if place and folder.resolve().is_relative_to(place) and len(place) >= len(best):
            best, kind = place, parts[2]
    return Disk(usage.free, usage.total, kind)


def check_disk(report: Report, path: Path, disk: Disk) -> None:
    """Check that a log in this file has room, and a filesystem that SQLite can use."""
    size = sum(each.stat().st_size for each in path.parent.glob(path.name + "*") if each.is_file())
    seen = f"{megabytes(disk.free)} free of {megabytes(disk.total)}; the log has {megabytes(size)}"
    if disk.filesystem.startswith(_NETWORK_FILESYSTEMS):
        report.find(
            Finding(
                "disk",
                f"{path} is on a network's filesystem ({disk.filesystem})",
                "SQLite's write-ahead log doesn't work there: workers miss events, and the file "
                "can be damaged",
                "name a file on a disk of this machine in database.url, or use Redis for several "
                "machines",
            )
        )
    elif disk.free < _LEAST_FREE_BYTES:
        report.find(
            Finding(
                "disk",
                seen,
                "the disk is nearly full; then no event is stored, and ingest answers 503",
                "free some space, or keep fewer events: database.retention, "
                "database.retention_count",
            )
        )
    else:
        report.ok("disk", seen)


def megabytes(count: int) -> str:
    """Return a number of bytes in MiB or GiB."""
    return f"{count / 2**20:.0f} MiB" if count < 2**30 else f"{count / 2**30:.1f} GiB"
