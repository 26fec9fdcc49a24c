"""Copies one log into another, with its ids, its order and its deduplication."""

from __future__ import annotations

from collections.abc import Iterator

from ..exceptions import LogUnusable
from .protocol import NO_COPY, EventLog

PAGE = 500


def copy(source: EventLog, target: EventLog) -> Iterator[tuple[int, int]]:
    """Copy the events that the target doesn't have; yield the last id copied, and the head.

    A copy that was interrupted continues where it stopped. Events that are stored meanwhile are
    copied, too.

    Revocations are copied first.

    :raises LogUnusable: the target holds events of another log.
    :raises LogUnavailable: one of the two is away; the events copied until then stay copied.
    """
    identity = source.identity
    done = target.head()
    if (done and target.identity != identity) or done > source.head():
        raise LogUnusable(f"the target: {NO_COPY}")
    _copy_revocations(source, target)
    while (head := source.head()) > done or not done:
        records = source.records(done, PAGE)
        # Where all remaining events were pruned, the target still continues their ids.
        done = records[-1].id if records else head
        target.restore(records, done, identity)
        yield done, head
        if not done:
            return


def _copy_revocations(source: EventLog, target: EventLog) -> None:
    position = 0
    while page := source.revocations.changes(position, PAGE):
        target.revocations.restore(page)
        position = page[-1].position
