"""Writes of several threads that share one commit, because a commit costs a sync of the disk."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Generic, TypeVar

from ...exceptions import LogUnavailable
from .connections import Connections

T = TypeVar("T")


class _Job(Generic[T]):
    """What one thread writes, and what became of that."""

    def __init__(self, write: Callable[[sqlite3.Connection], T]) -> None:
        self._write = write
        self.done = False
        self.result: T
        self.failure: LogUnavailable | None = None

    def run(self, db: sqlite3.Connection) -> None:
        self.result = self._write(db)


class SharedCommits:
    """Runs writes through ``connections.writer``; those that wait share the next commit."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._waiting: list[_Job[object]] = []

    def run(self, write: Callable[[sqlite3.Connection], T]) -> T:
        """Return what ``write`` returns, once what it wrote is on the disk.

        ``write`` must not raise anything of its own: others' writes are in its transaction.

        :raises LogUnavailable: nothing was written.
        """
        job = _Job(write)
        self._waiting.append(job)  # type: ignore[arg-type] # results are only handed through
        with self._connections.writer.lock:
            # The thread that held the lock before may have written this with its own.
            if not job.done:
                self._commit()
        if job.failure is not None:
            raise job.failure
        return job.result

    def _commit(self) -> None:
        """Run every write that waits, in one transaction."""
        jobs, self._waiting = self._waiting, []
        failure: LogUnavailable | None = None
        try:
            with self._connections.transaction() as db:
                for job in jobs:
                    job.run(db)
        except LogUnavailable as error:
            failure = error
        except BaseException as error:
            failure = LogUnavailable(f"{self._connections.path}: {error!r}")
            raise
        finally:
            for job in jobs:
                job.failure, job.done = failure, True
