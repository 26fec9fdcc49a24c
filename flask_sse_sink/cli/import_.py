"""``flask sse import``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click

from ..event import Source
from ..exceptions import Fault, InvalidEvent, LogUnusable
from ..log import EventLog, Record
from . import progress
from .exported import identity_of, read, read_as_new
from .lines import LinePublisher, Pipe, TextLine, read_lines, standard_input
from .options import load_runtime, log_of
from .publish import publish_lines, target_of
from .server_options import token_option, url_option
from .texts import shown

_PAGE = 500


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, allow_dash=True))
@click.option(
    "--new-ids", is_flag=True, help="Publish the events after those of the log, under new ids."
)
@url_option("Publish to this server, under new ids.")
@token_option
@click.pass_context
def import_(ctx: click.Context, /, file: str, new_ids: bool, url: str | None, token: str) -> None:
    """Store the events of an exported FILE, or of standard input for -, with the ids they had.

    The configured log must be empty, or hold the beginning of the same file: what was interrupted
    goes on when it is started again. Start the server afterwards.
    """
    with _input(file) as (stream, length):
        if new_ids or url is not None:
            with (
                target_of(ctx, url, token) as target,
                progress.bar(length, "Importing") as bar,
            ):
                line = progress.Line(beside_bar=length > 0)
                publish_lines(LinePublisher(target, read_as_new, line), _Counted(stream, bar))
            return
        log = log_of(load_runtime(ctx))
        try:
            with progress.bar(length, "Importing") as bar:
                restored = _Restore(log)
                for lines in read_lines(_Counted(stream, bar)):
                    restored.add(lines)
                restored.store()
        finally:
            log.close()
    click.echo(
        f"Imported {restored.count} events, up to id {restored.through}"
        + (f"; {restored.known} were there already." if restored.known else "."),
        err=True,
    )


@contextmanager
def _input(file: str) -> Iterator[tuple[Pipe, int]]:
    """Lend what is read, and how many bytes it has, 0 where nobody knows."""
    if file == "-":
        yield standard_input(), 0
        return
    try:
        with open(file, "rb") as stream:
            yield stream, os.fstat(stream.fileno()).st_size
    except OSError as error:
        if error.filename != file:
            raise
        raise click.BadParameter(
            f"{file} can't be read ({error.strerror})", param_hint="FILE"
        ) from error


class _Counted:
    """A stream whose bytes advance a progress bar."""

    def __init__(self, stream: Pipe, bar: Any) -> None:
        self._stream = stream
        self._bar = bar

    def read1(self, size: int, /) -> bytes:
        """Return what has come."""
        piece = self._stream.read1(size)
        self._bar.update(len(piece))
        return piece


class _Restore:
    """Stores exported events under their ids, page by page.

    ``count`` events were stored, ``known`` were there before; ``through`` is the last id.
    """

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._records: list[Record] = []
        self._sources: dict[int, str] = {}
        self._identity = ""
        self._head = log.head()
        self.through = 0
        self.count = 0
        self.known = 0

    def add(self, lines: list[TextLine]) -> None:
        """Take the events of these lines, and store them when they fill a page.

        :raises click.ClickException: a line is wrong; the events before it are stored.
        """
        for line in lines:
            try:
                self._add(line)
            except InvalidEvent as error:
                self.store()
                raise click.ClickException(
                    f"line {line.number}: {shown(str(error))}. The lines before it are imported; "
                    "mend it, and start again to go on"
                ) from error
            if len(self._records) >= _PAGE:
                self.store()

    def _add(self, line: TextLine) -> None:
        if line.text is None:
            raise InvalidEvent([Fault("", "is too long; is this file an export?")])
        record, source = read(line.text)
        self._check(record, source)
        if not self._identity:
            self._begin(record)
        self.through = record.id
        if record.id <= self._head:
            self.known += 1
        else:
            self._records.append(record)

    def _check(self, record: Record, source: Source) -> None:
        if self.through and record.id != self.through + 1:
            raise InvalidEvent(
                [
                    Fault(
                        "id",
                        f"{record.id} comes after {self.through}; a log has no gaps: export "
                        "without a filter, or import with --new-ids",
                    )
                ]
            )
        if self._sources.setdefault(source.id, source.name) != source.name:
            raise InvalidEvent(
                [Fault("source", f"{source.id} is the id of {self._sources[source.id]}, too")]
            )

    def _begin(self, first: Record) -> None:
        self._identity = identity_of(first)
        if self._head and self._log.identity != self._identity:
            raise LogUnusable(
                "the log holds events that aren't from this file; name an empty one in "
                "database.url, or import with --new-ids"
            )

    def store(self) -> None:
        """Store what was taken and isn't stored yet."""
        if self._records:
            self._log.restore(self._records, self._records[-1].id, self._identity)
            self.count += len(self._records)
            self._records = []
