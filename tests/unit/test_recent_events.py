"""The events that a process stored last, which its relay gets from memory."""

from __future__ import annotations

import pytest

from flask_sse_sink.log import StoredEnvelope
from flask_sse_sink.log.sqlite import recent
from flask_sse_sink.log.sqlite.recent import RecentEvents


def stored(first: int, last: int) -> list[StoredEnvelope]:
    return [(id, b"%d" % id) for id in range(first, last + 1)]


@pytest.fixture
def events() -> RecentEvents:
    made = RecentEvents()
    made.add(stored(1, 3))
    made.add(stored(4, 5))
    return made


def test_what_comes_right_after_an_id_is_returned_in_order(events: RecentEvents) -> None:
    assert events.after(0, 100) == stored(1, 5)
    assert events.after(2, 2) == stored(3, 4)
    assert events.after(4, 100) == stored(5, 5)


def test_nothing_is_returned_after_the_newest(events: RecentEvents) -> None:
    assert events.after(5, 100) == []
    assert events.after(9, 100) == []
    assert RecentEvents().after(0, 100) == []


def test_events_of_another_process_in_between_are_for_the_log_to_tell(
    events: RecentEvents,
) -> None:
    events.add(stored(7, 8))
    assert events.after(3, 100) is None
    assert events.after(5, 100) is None
    assert events.after(6, 100) == stored(7, 8)


def test_what_was_read_is_forgotten(events: RecentEvents) -> None:
    assert events.after(3, 100) == stored(4, 5)
    assert events.after(1, 100) is None


def test_after_a_clear_the_log_tells(events: RecentEvents) -> None:
    events.clear()
    assert events.after(3, 100) is None
    assert events.after(5, 100) == []
    events.add(stored(6, 6))
    assert events.after(5, 100) == stored(6, 6)


@pytest.mark.parametrize("bound", ["_EVENTS", "_BYTES"])
def test_no_more_is_kept_than_the_bounds_say(bound: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recent, bound, 4)
    events = RecentEvents()
    events.add(stored(1, 3))
    events.add(stored(4, 5))
    assert events.after(0, 100) is None
    assert events.after(3, 100) == stored(4, 5)
    # More than the bound in one commit: none of them is kept.
    events.add(stored(6, 20))
    assert events.after(5, 100) is None
    assert events.after(20, 100) == []


def test_ids_that_begin_anew_replace_those_before(events: RecentEvents) -> None:
    events.add(stored(1, 1))
    assert events.after(0, 100) == stored(1, 1)
    assert events.after(5, 100) == []
