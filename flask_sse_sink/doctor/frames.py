"""Frames of a stream, as a reader takes them apart. Rule: WHATWG HTML, 9.2.6."""

from __future__ import annotations

import codecs
import re
import zlib
from typing import NamedTuple

_LINE_END = re.compile(r"\r\n|\r|\n")
# A line, or an event, that never ends would fill the memory.
_MAX_LINE = 1 << 20


class Frame(NamedTuple):
    """One dispatched event: its name, its data, and the stream's last id up to it."""

    event: str
    data: str
    id: str


class FrameReader:
    """Takes a stream in pieces of any size, and returns the frames that they complete."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")("replace")
        self._text = ""
        self._event = ""
        self._data: list[str] = []
        self._id = ""

    def feed(self, data: bytes) -> list[Frame]:
        """Return the frames that these bytes complete."""
        self._text += self._decoder.decode(data)
        frames = []
        while (end := _LINE_END.search(self._text)) and not self._may_go_on(end):
            line, self._text = self._text[: end.start()], self._text[end.end() :]
            if (frame := self._take(line)) is not None:
                frames.append(frame)
        self._text = self._text[:_MAX_LINE]
        return frames

    def _may_go_on(self, end: re.Match[str]) -> bool:
        # An LF right after this CR would belong to the same line end.
        return end[0] == "\r" and end.end() == len(self._text)

    def _take(self, line: str) -> Frame | None:
        if not line:
            frame = Frame(self._event or "message", "\n".join(self._data), self._id)
            is_empty = not self._data
            self._event, self._data = "", []
            return None if is_empty else frame
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "event":
            self._event = value
        elif name == "data" and sum(map(len, self._data)) < _MAX_LINE:
            self._data.append(value)
        elif name == "id" and "\0" not in value:
            self._id = value
        return None


class Decompressor:
    """Takes a compressed body in pieces. ``is_known`` says whether it can read this coding."""

    def __init__(self, coding: str) -> None:
        self._coding = coding
        # Of these two, zlib tells by itself which one it is.
        self.is_known = coding in ("", "identity", "gzip", "x-gzip", "deflate")
        self._zlib = zlib.decompressobj(zlib.MAX_WBITS | 32)

    def feed(self, data: bytes) -> bytes:
        """Return what these bytes add; nothing where the coding isn't known, or is wrong."""
        if self._coding in ("", "identity"):
            return data
        if not self.is_known:
            return b""
        try:
            return self._zlib.decompress(data, _MAX_LINE)
        except zlib.error:
            self.is_known = False
            return b""
