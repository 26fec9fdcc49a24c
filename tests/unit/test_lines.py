"""Lines of NDJSON, read as they come and published in batches."""

from __future__ import annotations

import io
import itertools
from collections.abc import Sequence

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_sse_sink.cli import lines
from flask_sse_sink.cli.lines import LinePublisher, TextLine, Unpublished, read_lines
from flask_sse_sink.event import NewEvent
from flask_sse_sink.log import Appended
from flask_sse_sink.submission import decode


class Pieces:
    """A pipe that gives these pieces, one a read."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces = [piece for piece in pieces if piece]

    def read1(self, size: int, /) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""


def read(*pieces: bytes) -> list[tuple[int, bytes | None]]:
    return [(line.number, line.text) for batch in read_lines(Pieces(pieces)) for line in batch]


@given(st.binary(), st.lists(st.integers(0, 200)))
def test_lines_are_the_same_however_they_are_cut(content: bytes, cuts: list[int]) -> None:
    bounds = [0, *sorted(min(cut, len(content)) for cut in cuts), len(content)]
    pieces = [content[a:b] for a, b in itertools.pairwise(bounds)]
    expected = [(n, text) for n, text in enumerate(content.split(b"\n"), 1) if text.strip()]
    assert read(*pieces) == expected


def test_lines_are_given_when_they_have_come() -> None:
    batches = read_lines(Pieces([b"a\nb\nc", b"d\n"]))
    assert [line.text for line in next(batches)] == [b"a", b"b"]
    assert [line.text for line in next(batches)] == [b"cd"]


def test_a_line_without_end_takes_bounded_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "LONGEST_LINE", 10)
    assert read(*[b"x" * 8] * 9, b"x\nshort\n") == [(1, None), (2, b"short")]
    assert read(*[b"x" * 8] * 9) == [(1, None)]
    assert read(b"x" * 11, b"\n", b"y") == [(1, None), (2, b"y")]


class Scripted:
    """A target that takes at most ``most`` events at a time, and none of these types."""

    def __init__(self, most: int = 1000, refused: str = "", names: bool = True) -> None:
        self._most = most
        self._refused = refused
        self._names = names
        self.taken: list[str] = []
        self.calls = 0

    def publish(self, events: Sequence[NewEvent]) -> Appended:
        self.calls += 1
        if len(events) > self._most:
            raise Unpublished("too many", {})
        bad = {n: "refused" for n, each in enumerate(events) if each.event_type == self._refused}
        if bad:
            raise Unpublished("refused", bad if self._names else {})
        self.taken += [event.event_type for event in events]
        return Appended(list(range(len(events))), 0)


def publisher(target: Scripted) -> LinePublisher:
    return LinePublisher(target, lambda text: decode(text)[0])


def numbered(*types: str) -> list[TextLine]:
    return [TextLine(n, f'{{"event_type": "{name}"}}'.encode()) for n, name in enumerate(types, 1)]


def test_a_batch_that_is_too_large_is_halved(capsys: pytest.CaptureFixture[str]) -> None:
    target = Scripted(most=3)
    publishing = publisher(target)
    publishing.publish(numbered(*"abcdefghij"))
    assert target.taken == list("abcdefghij")
    assert (publishing.accepted, publishing.failed) == (10, 0)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("names", [True, False])
def test_what_is_refused_is_told_by_line_and_the_rest_published(
    names: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    target = Scripted(refused="bad", names=names)
    publishing = publisher(target)
    publishing.publish(
        [*numbered("a", "bad", "b", "bad", "c"), TextLine(6, b"{"), TextLine(7, None)]
    )
    publishing.summarize()
    assert target.taken == ["a", "b", "c"]
    told = capsys.readouterr()
    failed = [text.partition(":")[0] for text in told.err.splitlines()]
    assert sorted(failed[:-1]) == ["line 2", "line 4", "line 6", "line 7"]
    assert told.err.splitlines()[-1] == "3 published, 4 failed"
    assert told.out == ""


def test_a_target_that_is_away_ends_it_and_says_how_far_it_came() -> None:
    class Away(Scripted):
        def publish(self, events: Sequence[NewEvent]) -> Appended:
            if self.taken:
                raise click.ClickException("http://h is away")
            return super().publish(events)

    publishing = publisher(Away())
    publishing.publish(numbered("a", "b"))
    with pytest.raises(click.ClickException, match="is away; the lines up to 2 were dealt with"):
        publishing.publish([TextLine(3, b'{"event_type": "c"}')])


def test_a_buffered_stream_is_a_pipe() -> None:
    assert [len(batch) for batch in read_lines(io.BytesIO(b"a\nb\n\n \nc"))] == [2, 1]
