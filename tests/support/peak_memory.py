"""The most memory that this process has had, which the kernel counts for nothing."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path

_PROC = Path("/proc/self")


def _kib(name: str) -> int:
    line = re.search(rf"^{name}:\s+(\d+) kB$", (_PROC / "status").read_text(), re.MULTILINE)
    assert line, f"the kernel doesn't tell {name}"
    return int(line[1])


@contextlib.contextmanager
def grows_less_than(mebibytes: int) -> Iterator[None]:
    """Fail if this process had so much more memory at any moment within the block."""
    # 5 makes the kernel forget the peak: proc(5).
    (_PROC / "clear_refs").write_text("5")
    before = _kib("VmRSS")
    yield
    assert _kib("VmHWM") - before < mebibytes * 1024
