"""``flask sse pulls`` and ``flask sse pulls reset``."""

from __future__ import annotations

import click
from flask.cli import with_appcontext

from ..log import EventLog
from ..log.deliveries import Missed, deliveries_of
from ..runtime import Runtime
from ..sinks.http_pull import HttpPull
from .completion import pulled_sinks
from .options import current_runtime

_HEAD = ("sink", "cursor", "lag", "out", "dead", "oldest", "missed")


@click.group(invoke_without_command=True)
@click.pass_context
@with_appcontext
def pulls(ctx: click.Context) -> None:
    """Show where each pulled sink is, or set its place with `reset`.

    `lag` counts the events that aren't confirmed, `out` those that are leased, `dead` the dead
    letters. `oldest` is the id of the oldest event that isn't confirmed.
    """
    if ctx.invoked_subcommand:
        return
    runtime = current_runtime()
    try:
        rows = [_HEAD, *_rows(runtime)]
    finally:
        runtime.log.close()
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD))]
    for row in rows:
        cells = [text.rjust(width) for text, width in zip(row[1:], widths[1:], strict=True)]
        click.echo("  ".join([row[0].ljust(widths[0]), *cells]))


def _rows(runtime: Runtime) -> list[tuple[str, ...]]:
    rows = []
    for status in deliveries_of(runtime.log).status():
        sink = runtime.sinks.get(status.name)
        lag, oldest = "?", status.oldest_row
        if isinstance(sink, HttpPull):
            backlog = sink.consumption.backlog()
            lag = str(backlog.lag)
            fresh = sink.consumption.extraction.oldest_fresh()
            oldest = min([id for id in (oldest, fresh) if id], default=0)
        name = status.name if sink else f"{status.name} (not configured)"
        cells = (status.cursor, lag, status.out, status.dead, oldest or "-")
        rows.append((name, *map(str, cells), _missed(status.missed)))
    return rows


def _missed(reports: tuple[Missed, ...]) -> str:
    if any(report.count is None for report in reports):
        return "some"
    return str(sum(report.count or 0 for report in reports))


@pulls.command()
@click.argument("name", shell_complete=pulled_sinks)
@click.option(
    "--to",
    "target",
    required=True,
    metavar="ID",
    help="Go on after the event with this id; or `earliest`, or `latest`.",
)
@with_appcontext
def reset(name: str, target: str) -> None:
    """Set the place of the pulled sink NAME anew: events after it come, again or not at all.

    What is leased, the dead letters and all batches are forgotten.
    """
    log = current_runtime().log
    try:
        store = deliveries_of(log)
        known = {status.name for status in store.status()}
        if name not in known and not isinstance(current_runtime().sinks.get(name), HttpPull):
            raise click.BadParameter(f"no such pulled sink; there are {', '.join(sorted(known))}")
        cursor = _cursor(log, target)
        store.reset(name, cursor)
        click.echo(f"{name} goes on after event {cursor}.", err=True)
    finally:
        log.close()


def _cursor(log: EventLog, target: str) -> int:
    head = log.head()
    if target == "latest":
        return head
    if target == "earliest":
        oldest = log.read(0, 1)
        return oldest[0][0] - 1 if oldest else head
    if not target.isascii() or not target.isdigit():
        raise click.BadParameter("write an id, `earliest` or `latest`", param_hint="--to")
    if int(target) > head:
        raise click.BadParameter(f"the newest event has id {head}", param_hint="--to")
    return int(target)
