"""``flask sse copy``."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

import click

from ..config.loading import from_mapping
from ..exceptions import ConfigError
from ..log import EventLog, copying, open_log
from . import progress

_SQLITE = "sqlite:///"
_LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_REDIS_PORT = 6379


class _Opened(NamedTuple):
    """A log, and the URL by which it was found."""

    log: EventLog
    url: str


def _open_log(ctx: click.Context, param: click.Parameter, url: str) -> _Opened:
    config = {"database": {"url": url}, "sink": {"sse": None}}
    try:
        settings = from_mapping(config, "", Path.cwd()).database
        return _Opened(open_log(settings), settings.url)
    except ConfigError as error:
        raise click.BadParameter(error.problems[0].removeprefix("database.url: ")) from None


@click.command()
@click.option("--from", "source", required=True, metavar="URL", callback=_open_log)
@click.option("--to", "target", required=True, metavar="URL", callback=_open_log)
def copy(source: _Opened, target: _Opened) -> None:
    """Copy a log into an empty one, with its ids, order and deduplication.

    What was interrupted, or stored since, is copied when it is started again. Let producers pause
    for the last time, and start the server with the new database.url.
    """
    try:
        _check(source, target)
        _copy(source.log, target.log)
    except KeyboardInterrupt:
        raise click.ClickException("interrupted; start it again to go on") from None
    finally:
        source.log.close()
        target.log.close()


def _check(source: _Opened, target: _Opened) -> None:
    """Check that there is something to copy, and another place for it.

    :raises click.BadParameter: there isn't.
    """
    if _place(source.url) == _place(target.url):
        raise click.BadParameter("is the log that is copied; name another", param_hint="--to")
    path = source.url.removeprefix(_SQLITE)
    is_there = os.path.exists(path) if path != source.url else source.log.head() > 0
    if not is_there:
        raise click.BadParameter("there is no log; mend the URL", param_hint="--from")
    source.log.inspect()
    target.log.inspect()


def _place(url: str) -> tuple[object, ...]:
    """Return where a log is, so that two URLs of one place are equal as far as they tell."""
    if url.startswith(_SQLITE):
        return (os.path.realpath(url.removeprefix(_SQLITE)),)
    parts = urlsplit(url)
    try:
        host, port = parts.hostname or "", parts.port or _REDIS_PORT
    except ValueError:
        # Several hosts with ports, as Sentinel has.
        return (url,)
    database = parts.path.strip("/") or "0"
    return ("loopback" if host in _LOOPBACK else host, port, database, parts.query)


def _copy(source: EventLog, target: EventLog) -> None:
    begin = target.head()
    with progress.bar(max(0, source.head() - begin), "Copying") as bar:
        for copied, head in copying.copy(source, target):
            bar.length = head - begin
            bar.update(copied - begin - bar.pos)
    click.echo(f"Copied up to event {target.head()}.", err=True)
