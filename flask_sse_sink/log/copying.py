"""From one log into another: ids and order stay, and repeats are still known."""

from __future__ import annotations

from collections.abc import Iterator

from ..exceptions import LogUnusable
from . import NO_COPY, EventLog

PAGE = 500


def copy(source: EventLog, target: EventLog) -> Iterator[tuple[int, int]]:
    """Copy what the target doesn't have; yield how far that is and how far it is to go, in ids.

    What was begun is gone on with, and what is stored meanwhile is copied, too.

    :raises LogUnusable: the target holds events of another log.
    :raises LogUnavailable: one of the two is away; what was copied until then is.
    """
    identity = source.identity
    done = target.head()
    if done and target.identity != identity or done > source.head():
        raise LogUnusable(f"the target: {NO_COPY}")
    while (head := source.head()) > done or not done:
        records = source.records(done, PAGE)
        # Where all that remains was pruned, the ids go on all the same.
        done = records[-1].id if records else head
        target.restore(records, done, identity)
        yield done, head
        if not done:
            return
