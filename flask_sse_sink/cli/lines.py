"""Lines of NDJSON from a pipe or a file, as they come, and their events published in batches."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import click

from ..event import NewEvent
from ..exceptions import Fault, InvalidEvent
from ..log import Appended
from . import progress
from .texts import shown

# What one read takes at most: what has come by then is published together.
_READ_BYTES = 256 * 1024
#: A line that is longer can't be an event: no server takes one of this size.
LONGEST_LINE = 16 * 2**20
_TOO_LONG = Fault("", f"longer than {LONGEST_LINE} bytes; is it NDJSON, one event a line?")


class Pipe(Protocol):
    """A buffered stream."""

    def read1(self, size: int, /) -> bytes:
        """Return what has come, but not more than ``size`` bytes; empty at the end."""


def standard_input() -> Pipe:
    """Return standard input, for bytes."""
    buffer: Any = sys.stdin.buffer
    pipe: Pipe = buffer
    return pipe


class TextLine(NamedTuple):
    """A line without its end; ``text`` is None where it is too long."""

    number: int
    text: bytes | None


class Unpublished(Exception):
    """Nothing of a batch was published.

    ``faults`` names events by their index, and says what is wrong; it is empty where only a
    smaller batch can tell. ``is_forbidden`` is true where the events are right, but not for this
    publisher.
    """

    def __init__(
        self, message: str, faults: Mapping[int, str], is_forbidden: bool = False
    ) -> None:
        super().__init__(message)
        self.faults = faults
        self.is_forbidden = is_forbidden


class Target(Protocol):
    """Where events are published to."""

    def publish(self, events: Sequence[NewEvent]) -> Appended:
        """Publish a batch, all or nothing.

        :raises Unpublished: it wasn't, because of its events.
        :raises click.ClickException: it wasn't, nor would others be.
        """


def read_lines(stream: Pipe) -> Iterator[list[TextLine]]:
    """Yield the lines that are not blank, those together that came together."""
    number, rest, is_skipping = 0, b"", False
    # Unlike read(), read1() doesn't wait until there is as much as it may take.
    while piece := stream.read1(_READ_BYTES):
        *ended, rest = (rest + piece).split(b"\n")
        lines: list[TextLine] = []
        for text in ended:
            number += 1
            if is_skipping or text.strip():
                lines.append(TextLine(number, None if is_skipping else text))
            is_skipping = False
        if len(rest) > LONGEST_LINE:
            rest, is_skipping = b"", True
        if lines:
            yield lines
    if is_skipping or rest.strip():
        yield [TextLine(number + 1, None if is_skipping else rest)]


class LinePublisher:
    """Publishes the events of lines, and says on standard error which lines failed, and why.

    ``decode`` returns a line's event, or raises
    :exc:`~flask_sse_sink.exceptions.InvalidEvent`. A line that fails stops none of the others.
    ``line`` shows how far it is.
    """

    def __init__(
        self,
        target: Target,
        decode: Callable[[bytes], NewEvent],
        line: progress.Line | None = None,
    ) -> None:
        self._target = target
        self._decode = decode
        self._line = line or progress.Line()
        self._last_number = 0
        self.accepted = 0
        self.duplicates = 0
        self.failed = 0

    def publish(self, lines: Sequence[TextLine]) -> None:
        """Publish what these lines hold.

        :raises click.ClickException: the target takes nothing now.
        """
        events: list[tuple[int, NewEvent]] = []
        for line in lines:
            try:
                events.append((line.number, self._event(line)))
            except InvalidEvent as error:
                self._fail(line.number, str(error))
        try:
            self._publish(events)
        except click.ClickException as error:
            self._line.clear()
            self.summarize()
            raise click.ClickException(
                f"{error.message}; the lines up to {self._last_number} were dealt with. Send all "
                "again: events with an event_id are stored once"
            ) from error
        self._last_number = lines[-1].number
        self._line.show(self._summary())

    def _event(self, line: TextLine) -> NewEvent:
        if line.text is None:
            raise InvalidEvent([_TOO_LONG])
        return self._decode(line.text)

    def _publish(self, events: Sequence[tuple[int, NewEvent]]) -> None:
        if not events:
            return
        try:
            done = self._target.publish([event for _, event in events])
        except Unpublished as refusal:
            self._publish_apart(events, refusal)
        else:
            self.accepted += done.accepted
            self.duplicates += done.duplicates

    def _publish_apart(self, events: Sequence[tuple[int, NewEvent]], refusal: Unpublished) -> None:
        """Publish the events without those that were the reason of the refusal."""
        faults = {index: text for index, text in refusal.faults.items() if index < len(events)}
        if faults:
            for index, text in sorted(faults.items()):
                self._fail(events[index][0], text)
            self._publish([each for index, each in enumerate(events) if index not in faults])
        elif len(events) > 1:
            middle = len(events) // 2
            self._publish(events[:middle])
            self._publish(events[middle:])
        else:
            self._fail(events[0][0], str(refusal))

    def _fail(self, number: int, why: str) -> None:
        self.failed += 1
        self._line.clear()
        click.echo(f"line {number}: {shown(why)}", err=True)

    def _summary(self) -> str:
        known = f" ({self.duplicates} were there already)" if self.duplicates else ""
        total = self.accepted + self.duplicates
        return f"{total} published{known}, {self.failed} failed"

    def summarize(self) -> None:
        """Write how many events were published, and how many lines failed."""
        self._line.clear()
        click.echo(self._summary(), err=True)
