"""Parts of the load that run in processes of their own, so that each has a core if there is one.

The child reads its specification, a line of JSON, from standard input. It prints ``ready``, waits
for a line, does its work, and prints a report as JSON.
"""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
from types import TracebackType
from typing import TypeVar

import msgspec

from .processes import python
from .system import ROOT

T = TypeVar("T")


class Child:
    """``python -m bench.MODULE``, which is ready; leaving the context ends it.

    :raises RuntimeError: it ended before it was ready.
    """

    def __init__(self, module: str, spec: msgspec.Struct) -> None:
        self._name = module
        self._process = subprocess.Popen(
            python("-m", f"bench.{module}"),
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        assert self._process.stdin and self._process.stdout
        self._input, self._output = self._process.stdin, self._process.stdout
        # Not as an argument: a list of some thousand events is too long for one.
        self.write(msgspec.json.encode(spec) + b"\n")

    def __enter__(self) -> Child:
        if self._output.readline() != b"ready\n":
            self.__exit__(None, None, None)
            raise RuntimeError(f"the {self._name} couldn't start")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        self._output.close()
        with contextlib.suppress(BrokenPipeError):
            self._input.close()

    def fileno(self) -> int:
        """Return the descriptor that can be read when the report is there."""
        return self._output.fileno()

    def has_reported(self) -> bool:
        """Return whether the report is there, or the child has ended."""
        # Not select(), which can't watch the descriptors beyond 1,024.
        poll = select.poll()
        poll.register(self._output, select.POLLIN)
        return bool(poll.poll(0))

    def go(self) -> None:
        """Let the child begin."""
        self.write(b"\n")

    def write(self, data: bytes) -> None:
        """Write to the child's standard input; nothing happens if the child has ended."""
        with contextlib.suppress(BrokenPipeError):
            self._input.write(data)

    def report(self, kind: type[T]) -> T:
        """Wait for the report.

        :raises RuntimeError: the child ended without one.
        """
        line = self._output.readline()
        if not line:
            raise RuntimeError(f"the {self._name} ended without a report")
        return msgspec.json.decode(line, type=kind)


def specification(kind: type[T]) -> T:
    """Return, in the child, what it is to do.

    Nothing comes after the specification until the child is ready, so a buffer keeps nothing back.
    """
    return msgspec.json.decode(sys.stdin.buffer.readline(), type=kind)


def ready() -> None:
    """Say, in the child, that it is ready, and wait for :meth:`Child.go`."""
    print("ready", flush=True)
    # Unbuffered, because the bytes after this line are for others to read.
    while os.read(sys.stdin.fileno(), 1) not in (b"\n", b""):
        pass


def tell(report: msgspec.Struct) -> None:
    """Print the child's report."""
    print(msgspec.json.encode(report).decode(), flush=True)
