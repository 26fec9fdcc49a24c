"""``flask sse export``."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import click
from flask.cli import with_appcontext

from ..event import decode_envelope
from ..log import EventLog, Record
from . import progress
from .events import position_in
from .exported import write
from .options import Query, Since, current_runtime, filter_of, filter_options, log_of, since_option

_PAGE = 500


def _new_file(ctx: click.Context, param: click.Parameter, value: str) -> Path | None:
    """Return the path, None for standard output.

    :raises click.BadParameter: a file is there already.
    """
    if value == "-":
        return None
    if os.path.lexists(value):
        raise click.BadParameter(f"{value} is there already; remove it, or name another file")
    return Path(value)


@click.command()
@click.argument("file", default="-", metavar="[FILE]", callback=_new_file)
@since_option
@filter_options
@with_appcontext
def export(file: Path | None, since: Since | None, query: Query) -> None:
    """Write the log's events to FILE as NDJSON, with their ids; by default to standard output.

    FILE appears once it is complete. `import` reads it.
    """
    filter = filter_of(query)
    log = log_of(current_runtime())
    try:
        after = 0 if since is None else position_in(log, since.position).id
        head = log.head()
        count = 0
        with _output(file) as output, progress.bar(max(0, head - after), "Exporting") as bar:
            for page in _pages(log, after, head):
                for record in page:
                    if filter.everything or filter.matches(decode_envelope(record.envelope)):
                        output.write(write(record))
                        count += 1
                # Ids have no gaps, but for those that were pruned.
                bar.update(page[-1].id - after - bar.pos)
        click.echo(f"Exported {count} events, up to id {head}.", err=True)
    finally:
        log.close()


def _pages(log: EventLog, after: int, head: int) -> Iterator[list[Record]]:
    """Yield what is stored after an id, up to another."""
    while page := [each for each in log.records(after, _PAGE) if each.id <= head]:
        yield page
        after = page[-1].id


@contextmanager
def _output(file: Path | None) -> Iterator[BinaryIO]:
    """Lend what is written to; a file gets its name once it is complete."""
    if file is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    part = file.with_name(f"{file.name}.part-{os.getpid()}")
    try:
        with part.open("xb") as output:
            yield output
            output.flush()
            os.fsync(output.fileno())
        _give_name(part, file)
    except OSError as error:
        raise click.ClickException(
            f"{file} can't be written ({error.strerror}); name a file that this user may make"
        ) from error
    finally:
        part.unlink(missing_ok=True)


def _give_name(part: Path, file: Path) -> None:
    try:
        # Unlike a rename, this replaces no file that somebody made meanwhile.
        os.link(part, file)
    except FileExistsError:
        raise
    except OSError:
        # Not every file system has links.
        part.rename(file)
