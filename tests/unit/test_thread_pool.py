"""The pool of threads that answer requests."""

from __future__ import annotations

import _thread
import queue
import threading
from collections.abc import Callable, Iterator

import pytest

from flask_sse_sink.server.thread_pool import ThreadPool

SECONDS = 10.0


@pytest.fixture
def make() -> Iterator[Callable[[int], ThreadPool]]:
    pools: list[ThreadPool] = []

    def pool(limit: int) -> ThreadPool:
        pools.append(ThreadPool(limit))
        return pools[-1]

    yield pool
    for each in pools:
        each.shutdown()


def test_one_thread_takes_one_task_after_the_other(make: Callable[[int], ThreadPool]) -> None:
    pool = make(8)
    done: queue.SimpleQueue[int] = queue.SimpleQueue()
    pool.run(lambda: done.put(threading.get_ident()))
    first = done.get(timeout=SECONDS)
    # The thread counts as free a moment after its task has ended.
    for _ in range(100):
        pool.run(lambda: done.put(threading.get_ident()))
        done.get(timeout=SECONDS)
    assert pool.threads <= 2
    assert first


def test_a_task_gets_a_thread_of_its_own_while_others_run(
    make: Callable[[int], ThreadPool],
) -> None:
    pool = make(3)
    together = threading.Barrier(4)
    for _ in range(3):
        pool.run(lambda: together.wait(SECONDS))
    together.wait(SECONDS)
    assert pool.threads == 3


def test_tasks_beyond_the_limit_wait_for_a_thread(make: Callable[[int], ThreadPool]) -> None:
    pool = make(2)
    blocked, done = threading.Event(), queue.SimpleQueue[int]()

    def task(n: int) -> Callable[[], None]:
        def run() -> None:
            blocked.wait(SECONDS)
            done.put(n)

        return run

    for n in range(6):
        pool.run(task(n))
    assert pool.threads == 2
    blocked.set()
    assert {done.get(timeout=SECONDS) for _ in range(6)} == set(range(6))


def test_a_shutdown_waits_for_running_tasks(make: Callable[[int], ThreadPool]) -> None:
    pool = make(2)
    ended: list[bool] = []
    go, begun = threading.Event(), threading.Event()

    def task() -> None:
        begun.set()
        go.wait(SECONDS)
        ended.append(True)

    pool.run(task)
    assert begun.wait(SECONDS)
    pool.shutdown(wait=False)
    waits = [each for each in threading.enumerate() if each.name == "sse-sink-pool-end"]
    assert [each.daemon for each in waits] == [False]
    assert not ended
    go.set()
    waits[0].join(SECONDS)
    assert ended


def test_a_system_without_room_for_a_thread_leaves_the_task_to_another(
    make: Callable[[int], ThreadPool], monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make(2)
    go, done = threading.Event(), threading.Event()
    pool.run(lambda: go.wait(SECONDS))

    def fail(*_: object) -> int:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(_thread, "start_new_thread", fail)
    pool.run(done.set)
    assert pool.threads == 1
    go.set()
    assert done.wait(SECONDS)


def test_without_any_thread_the_error_is_raised(
    make: Callable[[int], ThreadPool], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> int:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(_thread, "start_new_thread", fail)
    with pytest.raises(RuntimeError):
        make(1).run(lambda: None)
