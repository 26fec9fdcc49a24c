"""The folder in which the processes of a server count, each in files of its own.

The files are those of prometheus_client's multiprocess mode. Whichever process is asked for the
metrics adds up all files.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ..exceptions import ConfigError
from .failsafe import FOLDER_VARIABLE, never_fails, warn

_log = logging.getLogger(__name__)

_PREFIX = "sse-sink-metrics-"


def check_folder() -> None:
    """Check that the folder which :data:`FOLDER_VARIABLE` names can be used; create it if missing.

    :raises ConfigError: the folder can't be used.
    """
    folder = Path(os.environ.get(FOLDER_VARIABLE, ""))
    if not folder.name or folder.name.startswith(_PREFIX):
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # os.access would not notice a disk that is full or read-only.
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"x")
    except OSError as error:
        raise ConfigError(
            f"{FOLDER_VARIABLE}: metrics can't be counted in {folder} ({error.strerror}); name "
            "a folder that this user may write to, or unset the variable"
        ) from error


def prepare() -> None:
    """Choose the folder where processes count that are started from now on.

    If :data:`FOLDER_VARIABLE` names a folder already, that folder and its content are kept.

    :raises ConfigError: that folder can't be used. The master must notice: each worker that
        noticed would end, and the master would start another.
    """
    if os.environ.get(FOLDER_VARIABLE):
        check_folder()
        return
    base = Path("/dev/shm" if os.access("/dev/shm", os.W_OK) else tempfile.gettempdir())
    try:
        remove_orphans(base)
        folder = base / f"{_PREFIX}{os.getpid()}"
        folder.mkdir(mode=0o700)
    except OSError as error:
        _log.warning("/metrics will tell of one worker only: %s", error)
        return
    os.environ[FOLDER_VARIABLE] = str(folder)


def discard() -> None:
    """Remove the folder that :func:`prepare` created in this process."""
    folder = Path(os.environ.get(FOLDER_VARIABLE, ""))
    if folder.name == f"{_PREFIX}{os.getpid()}":
        shutil.rmtree(folder, ignore_errors=True)
        del os.environ[FOLDER_VARIABLE]


@never_fails
def fold(pid: int) -> None:
    """Add the counts of a process that ended to those of the processes that ended before.

    Its gauges are removed. So the folder doesn't grow with the number of processes.
    """
    folder = os.environ.get(FOLDER_VARIABLE)
    if not folder:
        return
    from prometheus_client import multiprocess

    with locked(folder, fcntl.LOCK_EX):
        multiprocess.mark_process_dead(pid, folder)  # type: ignore[no-untyped-call]
        # What it last told of the log; the process that is asked next tells it anew.
        Path(folder, f"gauge_mostrecent_{pid}.db").unlink(missing_ok=True)
        for kind in ("counter", "histogram"):
            ended = Path(folder, f"{kind}_{pid}.db")
            if ended.exists():
                _fold(ended, Path(folder, f"{kind}_0.db"))


def _fold(ended: Path, total: Path) -> None:
    from prometheus_client.mmap_dict import MmapedDict, mmap_key
    from prometheus_client.multiprocess import MultiProcessCollector

    files = [str(path) for path in (total, ended) if path.exists()]
    fresh = total.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    merged = MultiProcessCollector.merge(files, accumulate=False)  # type: ignore[no-untyped-call]
    values = MmapedDict(str(fresh))  # type: ignore[no-untyped-call]
    try:
        for metric in merged:
            for sample in metric.samples:
                names = list(sample.labels)
                key = mmap_key(
                    metric.name,
                    sample.name,
                    names,
                    [sample.labels[name] for name in names],
                    metric.documentation,
                )
                values.write_value(key, sample.value, 0.0)  # type: ignore[no-untyped-call]
    finally:
        values.close()  # type: ignore[no-untyped-call]
    os.replace(fresh, total)
    ended.unlink()


@contextlib.contextmanager
def creating_files() -> Iterator[None]:
    """Hold the folder's lock while files are created, so that nobody reads half of one."""
    with contextlib.ExitStack() as stack:
        if folder := os.environ.get(FOLDER_VARIABLE):
            try:
                stack.enter_context(locked(folder, fcntl.LOCK_EX))
            except OSError as error:
                warn(error)
        yield


@contextlib.contextmanager
def locked(folder: str, operation: int) -> Iterator[None]:
    """Hold the folder's lock: a sum that is read between two steps of a fold would be wrong."""
    lock = os.open(Path(folder, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, operation)
        yield
    finally:
        os.close(lock)


def remove_orphans(base: Path) -> None:
    """Remove the folders of servers that were killed."""
    for folder in base.glob(f"{_PREFIX}*"):
        pid = folder.name.removeprefix(_PREFIX)
        if not pid.isdigit() or folder.stat().st_uid != os.getuid():
            continue
        try:
            os.kill(int(pid), 0)
            alive = int(pid) != os.getpid()
        except ProcessLookupError:
            alive = False
        if not alive:
            shutil.rmtree(folder, ignore_errors=True)
