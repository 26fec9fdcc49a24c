"""A reader of server-sent events for the tests, written from WHATWG HTML 9.2.5 and 9.2.6.

It shares no code with the package, so that the two can't be wrong in the same way.
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass


@dataclass(frozen=True)
class ServerEvent:
    """A dispatched event; ``id`` is the stream's last event id, ``retry`` what its block set."""

    event: str
    data: str
    id: str = ""
    retry: int | None = None


class Parser:
    """Takes the bytes of one stream in pieces of any size."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._line = ""
        self._after_cr = False
        self._began = False
        self._event = ""
        self._data: list[str] = []
        self._block_retry: int | None = None
        self.last_event_id = ""
        self._id = ""
        self.retry: int | None = None
        self.comments: list[str] = []

    def feed(self, chunk: bytes) -> list[ServerEvent]:
        """Return the events that these bytes complete."""
        text = self._decoder.decode(chunk)
        if text and not self._began:
            self._began = True
            text = text.removeprefix("\ufeff")
        # A CR ends its line at once; an LF right after it belongs to the same line end.
        if text and self._after_cr:
            text = text.removeprefix("\n")
            self._after_cr = False
        if text.endswith("\r"):
            self._after_cr = True
        lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        lines[0] = self._line + lines[0]
        self._line = lines.pop()
        events = [self._take(line) for line in lines]
        return [event for event in events if event is not None]

    def _take(self, line: str) -> ServerEvent | None:
        if not line:
            return self._dispatch()
        name, colon, value = line.partition(":")
        if colon and not name:
            self.comments.append(value.removeprefix(" "))
            return None
        value = value.removeprefix(" ")
        if name == "event":
            self._event = value
        elif name == "data":
            self._data.append(value)
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and value.isascii() and value.isdigit():
            self.retry = self._block_retry = int(value)
        return None

    def _dispatch(self) -> ServerEvent | None:
        event, data, retry = self._event, self._data, self._block_retry
        self._event, self._data, self._block_retry = "", [], None
        self.last_event_id = self._id
        if not data:
            return None
        return ServerEvent(event or "message", "\n".join(data), self.last_event_id, retry)


def parse(stream: bytes, chunk_size: int = 0) -> list[ServerEvent]:
    """Return the events of a whole stream, fed in chunks of this size (0: all at once)."""
    parser = Parser()
    size = chunk_size or len(stream) or 1
    events: list[ServerEvent] = []
    for start in range(0, len(stream), size):
        events.extend(parser.feed(stream[start : start + size]))
    return events
