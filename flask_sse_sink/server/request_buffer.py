"""The bytes of a request that is still coming in, and whether a thread can be given to it yet."""

from __future__ import annotations

import re

#: A request up to this size waits in memory for its end; of a larger one a thread reads the rest.
WHOLE_REQUEST_BYTES = 64 * 1024

_HEAD_END = b"\r\n\r\n"
# For heads in lower case: without IGNORECASE these are ten times as fast.
_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*(\d{1,18})[ \t]*\r\n")
_CODING = b"\r\ntransfer-encoding:"
_EXPECT = b"\r\nexpect:"
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]*)?\r\n")
_LONGEST_CHUNK_LINE = 4096


class RequestBuffer:
    """Collects the bytes of one request, and those that follow it.

    The app's parser reads the bytes again. So a request that looks malformed here counts as
    complete: the parser refuses it.
    """

    __slots__ = ("_data", "_is_chunked", "_next")

    def path(self) -> bytes:
        """Return the path of a GET without its query and last slash; empty for other requests."""
        if not self._data.startswith(b"GET "):
            return b""
        target = bytes(self._data[4:512]).partition(b" ")[0]
        return target.partition(b"?")[0].rstrip(b"/")

    def __init__(self, data: bytes = b"") -> None:
        self._data = bytearray(data)
        # Where the body ends, or its next chunk begins; -1 while the head isn't complete.
        self._next = -1
        self._is_chunked = False

    def __len__(self) -> int:
        return len(self._data)

    def add(self, data: bytes) -> None:
        """Append bytes that were received."""
        self._data += data

    def take(self) -> bytes:
        """Return all bytes, and become empty."""
        data, self._data = bytes(self._data), bytearray()
        self._next, self._is_chunked = -1, False
        return data

    @property
    def in_body(self) -> bool:
        """Return whether :meth:`is_complete` has found the end of the head."""
        return self._next >= 0

    def is_complete(self) -> bool:
        """Return whether the request is whole, or needn't be waited for any longer.

        The latter is a request that is larger than :data:`WHOLE_REQUEST_BYTES`, a malformed one,
        and one whose client waits for "100 Continue".
        """
        if len(self._data) > WHOLE_REQUEST_BYTES:
            return True
        if self._next < 0 and not self._find_body():
            # The parser refuses lines that end in LF alone.
            return b"\n\n" in self._data
        if self._is_chunked:
            return self._find_last_chunk()
        return self._next <= len(self._data) or self._next > WHOLE_REQUEST_BYTES

    def _find_body(self) -> bool:
        """Return whether the head is complete; find out where the body then ends."""
        end = self._data.find(_HEAD_END)
        if end < 0:
            return False
        head = bytes(self._data[: end + 2]).lower()
        self._next = end + len(_HEAD_END)
        if _EXPECT in head:
            return True
        length, has_coding = _LENGTH.search(head), _CODING in head
        # A request with both is left to the parser, which refuses it.
        self._is_chunked = has_coding and length is None
        if length is not None and not has_coding:
            self._next += int(length[1])
        return True

    def _find_last_chunk(self) -> bool:
        """Follow the chunks that have come; return whether no more need be waited for."""
        data = self._data
        while self._next < len(data):
            line = _CHUNK_LINE.match(data, self._next)
            if line is None:
                # The line isn't complete yet, or it is malformed.
                rest = data[self._next : self._next + _LONGEST_CHUNK_LINE]
                return b"\n" in rest or len(rest) == _LONGEST_CHUNK_LINE
            size = int(line[1], 16)
            if not size:
                # Trailers may follow, and end in an empty line as the head does.
                return data.startswith(b"\r\n", line.end()) or data.find(_HEAD_END, line.end()) > 0
            chunk_end = line.end() + size
            if chunk_end > WHOLE_REQUEST_BYTES:
                return True
            if chunk_end + 2 > len(data):
                return False
            if not data.startswith(b"\r\n", chunk_end):
                return True
            self._next = chunk_end + 2
        return False
