"""``flask sse copy``."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from ..config.loading import from_mapping
from ..exceptions import ConfigError
from ..log import EventLog, copying, open_log


def _open_log(ctx: click.Context, param: click.Parameter, url: str) -> EventLog:
    config = {"database": {"url": url}, "sink": {"sse": None}}
    try:
        return open_log(from_mapping(config, "", Path.cwd()).database)
    except ConfigError as error:
        raise click.BadParameter(error.problems[0].removeprefix("database.url: ")) from None


@click.command()
@click.option("--from", "source", required=True, metavar="URL", callback=_open_log)
@click.option("--to", "target", required=True, metavar="URL", callback=_open_log)
def copy(source: EventLog, target: EventLog) -> None:
    """Copy a log into an empty one, with its ids, order and deduplication.

    What was interrupted, or stored since, is copied when it is started again. Let producers pause
    for the last time, and start the server with the new database.url.
    """
    try:
        source.inspect()
        target.inspect()
        begin = target.head()
        with click.progressbar(
            length=max(0, source.head() - begin), label="Copying", file=sys.stderr
        ) as bar:
            for copied, head in copying.copy(source, target):
                bar.length = head - begin
                bar.update(copied - begin - bar.pos)
        click.echo(f"Copied up to event {target.head()}.", err=True)
    except KeyboardInterrupt:
        raise click.ClickException("interrupted; start it again to go on") from None
    finally:
        source.close()
        target.close()
