"""The threads that answer requests: started when they are needed, and cheap to start."""

from __future__ import annotations

import _thread
import queue
import sys
import threading
from collections.abc import Callable

_Task = Callable[[], object]


class ThreadPool:
    """Runs tasks on up to ``limit`` threads, which stay for further tasks.

    A ``ThreadPoolExecutor`` makes a future for each task and an object with two conditions for
    each thread, and waits until a new thread runs. For a stream, which takes a thread for itself,
    that costs as much as the rest of its opening. Here a task reports its result by itself.

    :meth:`run` and :meth:`shutdown` are for the main thread, also for its signal handlers.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._tasks: queue.SimpleQueue[_Task | None] = queue.SimpleQueue()
        self._threads = 0
        # Threads that wait for a task, less tasks that wait for a thread.
        self._idle = 0
        self._idle_lock = threading.Lock()
        self._is_closed = False
        self._ended: queue.SimpleQueue[None] = queue.SimpleQueue()

    @property
    def threads(self) -> int:
        """Return how many threads were started."""
        return self._threads

    def run(self, task: _Task) -> None:
        """Run a task, which must not raise, on a thread as soon as one is free.

        :raises RuntimeError: there is no thread, and none can be started.
        """
        if self._count_idle(-1) < 0 and self._threads < self._limit:
            self._start_thread()
        self._tasks.put(task)

    def shutdown(self, wait: bool = True) -> None:
        """End each thread after its task. Without ``wait``, the program's end waits for that."""
        if self._is_closed:
            return
        self._is_closed = True
        threads = self._threads
        for _ in range(threads):
            self._tasks.put(None)
        # The interpreter waits for this thread before it ends.
        end = threading.Thread(target=self._join, args=[threads], name="sse-sink-pool-end")
        end.start()
        if wait:
            end.join()

    def _start_thread(self) -> None:
        try:
            _thread.start_new_thread(self._work, ())
        except RuntimeError:
            # The system has no room for another: a thread that exists takes the task later.
            if not self._threads:
                raise
        else:
            self._threads += 1
            self._count_idle(1)

    def _count_idle(self, change: int) -> int:
        with self._idle_lock:
            self._idle += change
            return self._idle

    def _join(self, threads: int) -> None:
        for _ in range(threads):
            self._ended.get()

    def _work(self) -> None:
        # As in threads of the module `threading`: debuggers and coverage see this one, too.
        if (trace := threading.gettrace()) is not None:
            sys.settrace(trace)
        try:
            while (task := self._tasks.get()) is not None:
                task()
                del task
                self._count_idle(1)
        finally:
            self._ended.put(None)
