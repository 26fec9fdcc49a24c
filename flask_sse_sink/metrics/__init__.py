"""Prometheus metrics, right across the workers of a server.

Every process counts in memory-mapped files of its own in one folder (the multiprocess mode of
prometheus_client), and whichever worker is asked adds them up. Without such a folder, a process
tells of itself alone.

Counting never fails a request: what can't be counted is said once in the log.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import logging
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ParamSpec

from ..exceptions import ConfigError

_log = logging.getLogger(__name__)

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
_PREFIX = "sse-sink-metrics-"
_WAYS = ("direct", "queue", "replay")
_REASONS = ("closed", "stalled", "drained", "failed", "ended")
_BUCKETS = (
    *(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5),
    *(1.0, 2.0, 5.0, 10.0, 30.0),
)


_P = ParamSpec("_P")

_warned = False


def _warn(error: Exception) -> None:
    """Say in the log, once, that something wasn't counted."""
    global _warned
    if not _warned:
        _warned = True
        folder = os.environ.get(FOLDER_VARIABLE)
        place = f" in the folder {folder} ({FOLDER_VARIABLE})" if folder else ""
        _log.error(
            "metrics can't be counted%s, and are wrong from now on: %s: %s",
            *(place, type(error).__name__, error),
        )


def _never_fails(count: Callable[_P, None]) -> Callable[_P, None]:
    """Decorate a function that counts: an error is logged, and whoever calls it goes on."""

    @functools.wraps(count)
    def counted(*args: _P.args, **kwargs: _P.kwargs) -> None:
        try:
            count(*args, **kwargs)
        except Exception as error:
            _warn(error)

    return counted


class _Uncounted:
    """Stands for a metric that couldn't be made."""

    def labels(self, *values: str) -> _Uncounted:
        return self

    def inc(self, amount: float = 1) -> None:
        """Count nothing."""

    dec = set = observe = inc


def _made_or_uncounted(make: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    try:
        return make(*args, **kwargs)
    except Exception as error:
        _warn(error)
        return _Uncounted()


class SinkMetrics:
    """What is counted of one sink; see the names and helps in :class:`Metrics`."""

    def __init__(self, all: Metrics, sink: str) -> None:
        def of(metric: Any, *labels: str) -> Any:
            return _made_or_uncounted(metric.labels, sink, *labels)

        self._clients = of(all.clients)
        self._refused = of(all.refused)
        self._ended = {reason: of(all.ended, reason) for reason in _REASONS}
        self._deliveries = {way: of(all.deliveries, way) for way in _WAYS}
        self._missed = of(all.missed)
        self._seconds = of(all.seconds)
        self._waiting = of(all.waiting)
        self._most = of(all.most)

    @_never_fails
    def connected(self) -> None:
        """Count a stream that began."""
        self._clients.inc()

    @_never_fails
    def ended(self, reason: str) -> None:
        """Count a stream that ended. An application's own reasons are all ``ended``."""
        self._clients.dec()
        self._ended.get(reason, self._ended["ended"]).inc()

    @_never_fails
    def refused(self) -> None:
        """Count a client that was not let in."""
        self._refused.inc()

    @_never_fails
    def delivered(self, frames: int, seconds: float | None, way: str = "queue") -> None:
        """Count frames that were written, and how long ago the oldest of them was stored.

        ``way`` is ``direct``, or ``queue`` for those that the stream's own thread wrote, or
        ``replay`` for those that it read from the log.

        They count as one observation, to however many clients they went at once.
        """
        self._deliveries[way].inc(frames)
        if seconds is not None:
            self._seconds.observe(max(0.0, seconds))

    @_never_fails
    def missed(self, frames: int) -> None:
        """Count frames that a slow client lost."""
        self._missed.inc(frames)

    @_never_fails
    def queued(self, total: int, most: int) -> None:
        """Tell how many frames wait in all queues of this process, and in its fullest."""
        self._waiting.set(total)
        self._most.set(most)


class Metrics:
    """The metrics of this process."""

    def __init__(self) -> None:
        # It chooses where to count as it is first imported: after prepare(), for gunicorn.
        from prometheus_client import Counter, Gauge, Histogram

        def counter(name: str, help: str, *labels: str) -> Any:
            return _made_or_uncounted(Counter, f"sse_sink_{name}", help, labels)

        def gauge(name: str, help: str, mode: Any) -> Any:
            name = f"sse_sink_{name}"
            return _made_or_uncounted(Gauge, name, help, ["sink"], multiprocess_mode=mode)

        self._stored = counter("events_stored", "Events stored")
        self._duplicates = counter("events_duplicate", "Events that were in the log already")
        self.clients = gauge("clients", "Open streams", "livesum")
        self.refused = counter("clients_refused", "Clients not let in", "sink")
        self.ended = counter("clients_ended", "Streams that ended", "sink", "reason")
        self.deliveries = counter("deliveries", "Event frames written to clients", "sink", "way")
        self.missed = counter("missed", "Event frames that slow clients lost", "sink")
        self.waiting = gauge("queue_frames", "Frames that wait in clients' queues", "livesum")
        self.most = gauge("queue_frames_most", "Frames in the fullest queue", "livemax")
        self._waiting_bytes = _made_or_uncounted(
            Gauge,
            "sse_sink_queue_bytes",
            "Bytes of the events that wait in clients' queues, each counted once a worker",
            multiprocess_mode="livesum",
        )
        self.seconds = _made_or_uncounted(
            Histogram,
            "sse_sink_delivery_seconds",
            "From an event's being stored to its having been written, "
            "to one client or to the last of those with the same filter",
            ["sink"],
            buckets=_BUCKETS,
        )
        self.cut = counter(
            "connections_ended", "Connections ended without an answer to a request", "reason"
        )
        self._sinks: dict[str, SinkMetrics] = {}
        self._lock = threading.Lock()

    @_never_fails
    def stored(self, accepted: int, duplicates: int) -> None:
        """Count what became of a batch."""
        if accepted:
            self._stored.inc(accepted)
        if duplicates:
            self._duplicates.inc(duplicates)

    @_never_fails
    def waiting_bytes(self, count: int) -> None:
        """Tell how many bytes wait in all queues of this process."""
        self._waiting_bytes.set(count)

    def sink(self, name: str) -> SinkMetrics:
        """Return the metrics of the sink with this name."""
        found = self._sinks.get(name)
        if found is None:
            with self._lock:
                found = self._sinks.get(name)
                if found is None:
                    with _making_files():
                        found = self._sinks[name] = SinkMetrics(self, name)
        return found


_made: list[Metrics] = []
_making = threading.Lock()


def get() -> Metrics:
    """Return the metrics of this process, which all its apps share."""
    if not _made:
        with _making:
            if not _made:
                with _making_files():
                    _made.append(Metrics())
    return _made[0]


@_never_fails
def connection_ended(reason: str) -> None:
    """Count a connection that was ended for being ``slow``, or because it was ``crowded``."""
    get().cut.labels(reason).inc()


def expose(accept: str) -> tuple[bytes, str]:
    """Return all metrics in the format that an ``Accept`` header asks for, and its type.

    :raises Exception: the folder is gone, or its files are damaged.
    """
    from prometheus_client import REGISTRY, CollectorRegistry, exposition, multiprocess

    get()
    try:
        encode, content_type = exposition.choose_encoder(accept)
    except Exception:
        # It raises a TypeError where a version in the header is no number.
        encode, content_type = exposition.choose_encoder("")
    folder = os.environ.get(FOLDER_VARIABLE)
    if not folder:
        return encode(REGISTRY), content_type
    registry = CollectorRegistry()
    with _locked(folder, fcntl.LOCK_SH):
        multiprocess.MultiProcessCollector(registry, path=folder)  # type: ignore[no-untyped-call]
        return encode(registry), content_type


def check_folder() -> None:
    """See that the folder which :data:`FOLDER_VARIABLE` names can be used; make it if missing.

    :raises ConfigError: it can't be.
    """
    folder = Path(os.environ.get(FOLDER_VARIABLE, ""))
    if not folder.name or folder.name.startswith(_PREFIX):
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        # Not os.access, which knows nothing of a disk that is full or read-only.
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(b"x")
    except OSError as error:
        raise ConfigError(
            f"{FOLDER_VARIABLE}: metrics can't be counted in {folder} ({error.strerror}); name "
            "a folder that this user may write to, or unset the variable"
        ) from error


def prepare() -> None:
    """Choose the folder where the processes that are started from now on count.

    A folder that :data:`FOLDER_VARIABLE` names already is kept, with what it holds.

    :raises ConfigError: that folder can't be used. Seen in the workers, each would end and be
        started anew.
    """
    if os.environ.get(FOLDER_VARIABLE):
        check_folder()
        return
    base = Path("/dev/shm" if os.access("/dev/shm", os.W_OK) else tempfile.gettempdir())
    try:
        _remove_orphans(base)
        folder = base / f"{_PREFIX}{os.getpid()}"
        folder.mkdir(mode=0o700)
    except OSError as error:
        _log.warning("/metrics will tell of one worker only: %s", error)
        return
    os.environ[FOLDER_VARIABLE] = str(folder)


def discard() -> None:
    """Remove the folder that :func:`prepare` made in this process."""
    folder = Path(os.environ.get(FOLDER_VARIABLE, ""))
    if folder.name == f"{_PREFIX}{os.getpid()}":
        shutil.rmtree(folder, ignore_errors=True)
        del os.environ[FOLDER_VARIABLE]


@_never_fails
def fold(pid: int) -> None:
    """Add what a process that ended has counted to what others before it have.

    Its gauges go. The folder doesn't grow with the number of processes that there have been.
    """
    folder = os.environ.get(FOLDER_VARIABLE)
    if not folder:
        return
    from prometheus_client import multiprocess

    with _locked(folder, fcntl.LOCK_EX):
        multiprocess.mark_process_dead(pid, folder)  # type: ignore[no-untyped-call]
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
def _making_files() -> Iterator[None]:
    """Hold the lock under which files are made: whoever adds up can't read a new one yet."""
    with contextlib.ExitStack() as stack:
        if folder := os.environ.get(FOLDER_VARIABLE):
            try:
                stack.enter_context(_locked(folder, fcntl.LOCK_EX))
            except OSError as error:
                _warn(error)
        yield


@contextlib.contextmanager
def _locked(folder: str, how: int) -> Iterator[None]:
    """Hold the folder's lock: between two steps of a fold, a sum would be wrong."""
    lock = os.open(Path(folder, "lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, how)
        yield
    finally:
        os.close(lock)


def _remove_orphans(base: Path) -> None:
    """Remove what servers that were killed have left."""
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
