"""The bytes of a request on their way in: says when there is enough of it to give it a thread."""

from __future__ import annotations

import re

#: A request up to this size waits in memory for its end; of a larger one a thread reads the rest.
WHOLE_REQUEST_BYTES = 64 * 1024

_HEAD_END = b"\r\n\r\n"
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,18})[ \t]*\r\n", re.IGNORECASE)
_CODING = re.compile(rb"\r\ntransfer-encoding:", re.IGNORECASE)
_EXPECT = re.compile(rb"\r\nexpect:", re.IGNORECASE)
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]*)?\r\n")
_LONGEST_CHUNK_LINE = 4096


class RequestBuffer:
    """Collects one request, and what a client sends behind it.

    It parses nothing for the app: what looks wrong here counts as complete, so that the server's
    parser refuses it.
    """

    __slots__ = ("_at", "_chunked", "_data")

    def __init__(self, data: bytes = b"") -> None:
        self._data = bytearray(data)
        # Where the request ends, or its next chunk begins; -1 while the head isn't complete.
        self._at = -1
        self._chunked = False

    def __len__(self) -> int:
        return len(self._data)

    def add(self, data: bytes) -> None:
        """Add what has come."""
        self._data += data

    def take(self) -> bytes:
        """Return all bytes, and begin anew."""
        data, self._data = bytes(self._data), bytearray()
        self._at, self._chunked = -1, False
        return data

    @property
    def in_body(self) -> bool:
        """Return whether the head is complete and the body is not; see :meth:`is_complete`."""
        return self._at >= 0

    def is_complete(self) -> bool:
        """Return whether the request is whole, or needn't be waited for any longer.

        That is so for a request which is large or malformed, and for one whose client waits for
        "100 Continue".
        """
        if len(self._data) > WHOLE_REQUEST_BYTES:
            return True
        if self._at < 0 and not self._find_head():
            # Lines that end in LF alone are refused by the parser.
            return b"\n\n" in self._data
        if self._chunked:
            return self._find_last_chunk()
        return self._at <= len(self._data) or self._at > WHOLE_REQUEST_BYTES

    def _find_head(self) -> bool:
        """Look for the end of the head, and work out where the body ends."""
        end = self._data.find(_HEAD_END)
        if end < 0:
            return False
        head = bytes(self._data[: end + 2])
        self._at = end + len(_HEAD_END)
        if _EXPECT.search(head):
            return True
        length, self._chunked = _LENGTH.search(head), _CODING.search(head) is not None
        if length and self._chunked:
            # No server may guess which of the two holds.
            self._chunked = False
        elif length:
            self._at += int(length[1])
        return True

    def _find_last_chunk(self) -> bool:
        """Follow the chunks that are there; return whether there is no more to wait for."""
        data = self._data
        while self._at < len(data):
            line = _CHUNK.match(data, self._at)
            if line is None:
                # No size, or not all of its line yet.
                rest = data[self._at : self._at + _LONGEST_CHUNK_LINE]
                return b"\n" in rest or len(rest) == _LONGEST_CHUNK_LINE
            size = int(line[1], 16)
            if not size:
                # Trailers may follow, and end in an empty line as the head does.
                return data.startswith(b"\r\n", line.end()) or data.find(_HEAD_END, line.end()) > 0
            following = line.end() + size
            if following > WHOLE_REQUEST_BYTES:
                return True
            if following + 2 > len(data):
                return False
            if not data.startswith(b"\r\n", following):
                return True
            self._at = following + 2
        return False
