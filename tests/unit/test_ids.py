"""Ids of events and requests."""

from __future__ import annotations

import random
import re
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from flask_sse_sink.ids import new_id, new_ordered_id

_IN_A_CHILD = """
import os
from flask_sse_sink.ids import {name}
{name}()
child = os.fork()
if child:
    os.waitpid(child, 0)
print(" ".join({name}() for _ in range(100)), flush=True)
"""


@pytest.mark.parametrize("make", [new_id, new_ordered_id])
def test_ids_are_32_digits_and_unique_also_after_a_fork(make: Callable[[], str]) -> None:
    code = _IN_A_CHILD.format(name=make.__name__)
    ran = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    )
    ids = ran.stdout.split()
    assert all(re.fullmatch("[0-9a-f]{32}", id) for id in ids)
    # The random part alone: the two processes may make one in the same microsecond.
    assert len({id[16:] for id in ids}) == 200


@pytest.mark.parametrize("make", [new_id, new_ordered_id])
def test_an_app_that_seeds_its_own_random_numbers_gets_new_ids(make: Callable[[], str]) -> None:
    def seeded() -> str:
        random.seed(1)
        return make()[16:]

    assert seeded() != seeded()


def test_ordered_ids_sort_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    times = [1, 999_999, 1_700_000_000_000_000_000, 1_700_000_000_000_001_000, 2**63 - 1]
    clock = iter(times)
    monkeypatch.setattr(time, "time_ns", lambda: next(clock))
    ids = [new_ordered_id() for _ in times]
    assert ids[2:] == sorted(ids[2:])
    assert ids[0][:16] == "0" * 16 and ids[2] > ids[1]
