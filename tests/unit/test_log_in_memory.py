"""The log in the memory of one process."""

from __future__ import annotations

import contextlib
import itertools
import sqlite3
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from flask_sse_sink.config.databases import MEMORY_URL
from flask_sse_sink.config.settings import DatabaseSettings
from flask_sse_sink.exceptions import ConfigError, LogUnavailable
from flask_sse_sink.filters import EVERYTHING
from flask_sse_sink.log import open_log
from flask_sse_sink.log.sqlite.connections import Connections
from flask_sse_sink.log.sqlite.memory import MEMORY, MemoryDatabase, MemoryLog
from flask_sse_sink.submission import new_event
from support.apps import Listen, MakeApp, publish


@pytest.fixture
def log() -> Iterator[MemoryLog]:
    log = MemoryLog()
    yield log
    log.close()


def test_two_logs_are_apart_and_a_closed_one_is_empty(log: MemoryLog) -> None:
    with contextlib.closing(open_log(DatabaseSettings(url=MEMORY_URL))) as other:
        log.append([new_event("a")])
        assert other.head() == 0
        assert other.identity != log.identity
    log.close()
    assert log.head() == 0
    assert log.append([new_event("b")]).ids == [1]
    assert [id for id, _ in log.appended(0, 10) or []] == [1]


def test_a_connection_that_failed_loses_nothing() -> None:
    database = MemoryDatabase()
    connections = Connections(Path(MEMORY), database.connect)
    with connections.writer.lock, connections.transaction() as db:
        db.execute("CREATE TABLE kept (n)")
    for connection in (connections.writer, connections.reader, connections.replayer):
        with pytest.raises(LogUnavailable), connection.lend() as db:
            db.execute("SELECT no_such_column FROM kept")
        assert not connection.is_open
    with connections.reader.lend() as db:
        assert db.execute("SELECT count(*) FROM kept").fetchone() == (0,)
    connections.close()
    database.close()


def test_threads_write_read_and_prune_at_once(log: MemoryLog) -> None:
    ended = threading.Event()

    def write(_: int) -> list[int]:
        return [id for _ in range(50) for id in log.append([new_event("a"), new_event("b")]).ids]

    def read() -> int:
        for turn in itertools.count():
            if ended.is_set():
                return turn
            read = [id for id, _ in log.read(0, 1000)]
            assert read == list(range(1, len(read) + 1))
            log.replay(0, 100, EVERYTHING)
            log.check()
        return 0

    with ThreadPoolExecutor(6) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        try:
            ids = [id for written in pool.map(write, range(4)) for id in written]
        finally:
            ended.set()
        assert all(reader.result() for reader in readers)
    assert sorted(ids) == list(range(1, 401))
    assert log.prune(2**62, 1000) == 400


def test_an_app_streams_what_it_keeps_in_memory(make_app: MakeApp, listen: Listen) -> None:
    app = make_app(database={"url": MEMORY_URL})
    stream = listen(app)
    publish(app, "a")
    assert stream.event()["event_type"] == "a"


def test_an_sqlite_that_is_too_old_is_told(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 35, 5))
    with pytest.raises(ConfigError, match=r"SQLite .* can't keep a log in memory, 3\.36 can"):
        make_app(database={"url": MEMORY_URL})
