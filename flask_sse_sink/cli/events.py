"""``flask sse events``."""

from __future__ import annotations

import collections
import itertools
from collections.abc import Iterable, Iterator

import click
from flask.cli import with_appcontext

from ..filters import Filter
from ..log import EventLog
from ..stream.replay import PAGE
from ..stream.subscription import ResumePosition
from .options import Query, Since, current_runtime, filter_of, filter_options, log_of, since_option

_NEWEST = 10


@click.command()
@click.option(
    "-n", "count", type=click.IntRange(1), help=f"At most so many; {_NEWEST} by default."
)
@since_option
@filter_options
@with_appcontext
def events(
    count: int | None,
    since: Since | None,
    query: Query,
) -> None:
    """Print the newest events of the log, or those since then, one line of JSON each."""
    filter = filter_of(query)
    log = log_of(current_runtime())
    try:
        if since is None:
            envelopes = _newest(log, filter, count or _NEWEST)
        else:
            position = position_in(log, since.position)
            envelopes = itertools.islice(_stored(log, position, filter), count)
        for envelope in envelopes:
            click.echo(envelope)
    finally:
        log.close()


def position_in(log: EventLog, position: ResumePosition) -> ResumePosition:
    """Return a position with an id, which stands for the time if there is one."""
    if position.since_us is None:
        return position
    return ResumePosition(log.head_before(position.since_us), earliest=True)


def _newest(log: EventLog, filter: Filter, count: int) -> Iterable[bytes]:
    """Return the envelopes of the newest events that the filter lets through, oldest first."""
    # With a filter, nobody knows how far back they begin: read the whole log, keep the last.
    first = max(0, log.head() - count) if filter.everything else 0
    since = ResumePosition(first, earliest=True)
    return collections.deque(_stored(log, since, filter), count)


def _stored(log: EventLog, since: ResumePosition, filter: Filter) -> Iterator[bytes]:
    """Yield envelopes, and print to standard error which events the log no longer keeps."""
    after, head = since.id, log.head()
    if after > head:
        raise click.BadParameter(f"the newest event has id {head}", param_hint="--since")
    while after < head:
        page = log.replay(after, PAGE, filter, head)
        if page.gone > after and not since.earliest:
            click.echo(f"# events {after + 1} to {page.gone} are no longer kept", err=True)
        for _, envelope in page.envelopes:
            yield envelope
        after = page.through
