"""The notifier: who is notified, while processes come and go."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from flask_sse_sink.log.sqlite.notifier import Notifier


@pytest.fixture
def notifiers(tmp_path: Path) -> Iterator[list[Notifier]]:
    with ExitStack() as stack:
        made = [Notifier(tmp_path / "bells") for _ in range(3)]
        for each in made:
            stack.callback(each.close)
        yield made


def settle(folder: Path) -> None:
    """Let the folder look as if nothing had changed in it for long."""
    long_ago = time.time() - 100
    os.utime(folder, (long_ago, long_ago))


def test_a_process_that_listens_later_is_notified_too(
    notifiers: list[Notifier], tmp_path: Path
) -> None:
    teller, first, second = notifiers
    first.listen()
    settle(tmp_path / "bells")
    for _ in range(3):
        teller.notify()
        assert first.wait(5)
    second.listen()
    for _ in range(3):
        teller.notify()
        assert first.wait(5)
        assert second.wait(5)


def test_a_process_that_has_left_costs_nobody_a_notification(
    notifiers: list[Notifier], tmp_path: Path
) -> None:
    teller, first, second = notifiers
    first.listen()
    second.listen()
    settle(tmp_path / "bells")
    teller.notify()
    assert first.wait(5)
    first.close()
    for _ in range(2):
        teller.notify()
        assert second.wait(5)
