"""HTTP/1.1 as a client reads it: the head of an answer, and a body in chunked coding.

It shares no code with the package, so that the two can't be wrong in the same way.
"""

from __future__ import annotations

_LINE_END = b"\r\n"


class ChunkDecoder:
    """Takes a body in chunked coding in pieces of any size; fails where a byte is wrong."""

    def __init__(self) -> None:
        self._raw = bytearray()
        #: Bytes that are missing of the chunk which is being read and of the line end after it.
        self._missing = 0
        self._is_last = False
        #: Whether the last chunk has come.
        self.ended = False

    def feed(self, data: bytes) -> bytes:
        """Return what these bytes add to the body."""
        self._raw += data
        body = bytearray()
        while self._take(body):
            pass
        return bytes(body)

    def _take(self, body: bytearray) -> bool:
        """Take one part of the coding, and return whether it had come."""
        if self._missing > len(_LINE_END):
            part = self._raw[: self._missing - len(_LINE_END)]
            body += part
            self._missing -= len(part)
            del self._raw[: len(part)]
            return bool(part)
        if self._missing:
            return self._take_line_end()
        assert not self.ended or not self._raw, f"after the last chunk: {bytes(self._raw)!r}"
        end = self._raw.find(_LINE_END)
        if end < 0:
            return False
        size = int(self._raw[:end], 16)
        del self._raw[: end + len(_LINE_END)]
        self._missing = size + len(_LINE_END)
        self._is_last = not size
        return True

    def _take_line_end(self) -> bool:
        line_end = bytes(self._raw[: len(_LINE_END)])
        assert _LINE_END.startswith(line_end), f"no line end after a chunk: {line_end!r}"
        if line_end != _LINE_END:
            return False
        del self._raw[: len(_LINE_END)]
        self._missing = 0
        self.ended = self._is_last
        return True


def unchunk(raw: bytes) -> tuple[bytes, bool]:
    """Return a body in chunked coding without it, and whether its last chunk is there.

    It may be cut anywhere; what there is must be sound.
    """
    decoder = ChunkDecoder()
    return decoder.feed(raw), decoder.ended


class AnswerReader:
    """Takes one answer in pieces of any size, and returns its body."""

    def __init__(self) -> None:
        self._raw = bytearray()
        self._chunks: ChunkDecoder | None = None
        #: The status line and the headers in lower case; empty until all of them have come.
        self.head = ""

    @property
    def status(self) -> int:
        """Return the status, once the head has come."""
        return int(self.head.split()[1])

    @property
    def is_chunked(self) -> bool:
        return self._chunks is not None

    @property
    def ended(self) -> bool:
        """Return whether the last chunk has come."""
        return self._chunks is not None and self._chunks.ended

    def feed(self, data: bytes) -> bytes:
        """Return what these bytes add to the body."""
        if not self.head:
            self._raw += data
            head, blank_line, data = bytes(self._raw).partition(b"\r\n\r\n")
            if not blank_line:
                return b""
            self.head = head.decode("latin-1").lower()
            if "transfer-encoding: chunked" in self.head:
                self._chunks = ChunkDecoder()
        return data if self._chunks is None else self._chunks.feed(data)
