"""``flask sse events``."""

from __future__ import annotations

import collections
import itertools
from collections.abc import Iterable, Iterator

import click
from flask.cli import with_appcontext

from ..exceptions import SSESinkError
from ..filters import Filter, parse_query
from ..log import EventLog
from ..stream.replay import PAGE
from ..stream.subscription import ResumePosition
from .options import current_runtime, event_type_option, since_option

_NEWEST = 10


@click.command()
@click.option("-n", "count", type=click.IntRange(1), help=f"So many; {_NEWEST} by default.")
@since_option
@event_type_option
@with_appcontext
def events(count: int | None, since: ResumePosition | None, event_type: tuple[str, ...]) -> None:
    """Print the newest events of the log, or those since ID, one line of JSON each."""
    log = current_runtime().log
    try:
        filter = parse_query({"event_type": event_type})
        if since is None:
            envelopes = _newest(log, filter, count or _NEWEST)
        else:
            envelopes = itertools.islice(_stored(log, since, filter), count)
        for envelope in envelopes:
            click.echo(envelope)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--event-type") from None
    except SSESinkError as error:
        raise click.ClickException(str(error)) from error
    finally:
        log.close()


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
