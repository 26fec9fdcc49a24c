"""Reads a request's body as a whole, or refuses it.

Werkzeug's stream ends without an error when a chunked body reaches the limit, and when a client
sends less than its ``Content-Length``. A part of a batch would then pass for the whole, so this
module reads the server's own stream instead.
"""

from __future__ import annotations

import io
import zlib
from http import HTTPStatus
from typing import BinaryIO

from flask import Request
from werkzeug.exceptions import HTTPException, RequestEntityTooLarge

_PIECE = 2**20
_PACKED_PIECE = 4096
# A Content-Length of more digits is larger than any limit.
_MAX_DIGITS = 18


class BodyRefused(Exception):
    """The body can't be used. The answer has these attributes as its status, title and so on."""

    def __init__(
        self,
        status: HTTPStatus,
        title: str,
        detail: str,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.title = title
        self.detail = detail
        self.headers = headers


def read(request: Request, limit: int) -> bytes:
    """Return the body, unpacked if it is gzip.

    A request that its headers alone make unusable is refused before a byte of the body is read.

    :raises BodyRefused: the body has more than ``limit`` bytes, ends too soon, or can't be read.
    """
    packed = _is_packed(request)
    length = _content_length(request, limit)
    body = _received(request, length, limit)
    if length is not None and len(body) < length:
        raise _incomplete(f"the body ended after {len(body)} of {length} bytes (Content-Length)")
    if len(body) > limit:
        raise _too_large(limit)
    return _gunzip(body, limit) if packed else body


def _is_packed(request: Request) -> bool:
    coding = request.environ.get("HTTP_CONTENT_ENCODING", "").strip().lower()
    if coding in ("identity", ""):
        return False
    if coding in ("gzip", "x-gzip"):
        return True
    raise BodyRefused(
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        "Wrong content encoding",
        f"{coding[:80]} can't be unpacked; send gzip, or the body as it is",
        {"Accept-Encoding": "gzip"},
    )


def _content_length(request: Request, limit: int) -> int | None:
    """Return how many bytes the client announces, None where it announces no number."""
    text = request.environ.get("CONTENT_LENGTH", "").strip()
    if not text:
        return None
    if not (text.isascii() and text.isdigit()):
        raise _incomplete(f"Content-Length is {text[:80]!r}; send the number of the body's bytes")
    if request.environ.get("HTTP_TRANSFER_ENCODING"):
        # RFC 9112, 6.3: a proxy and this server could disagree on where such a body ends.
        raise _incomplete("it has a Content-Length and a Transfer-Encoding; send one of the two")
    if len(text) > _MAX_DIGITS or int(text) > limit:
        raise _too_large(limit)
    return int(text)


def _received(request: Request, length: int | None, limit: int) -> bytes:
    """Return the bytes that arrive: at most ``length``, or one more than the limit."""
    environ = request.environ
    if "stream" in vars(request):
        # A hook of the app has read some of it already, which Werkzeug keeps.
        return _already_read(request, limit)
    if length is None and not environ.get("wsgi.input_terminated"):
        if request.environ.get("HTTP_TRANSFER_ENCODING"):
            raise BodyRefused(
                HTTPStatus.LENGTH_REQUIRED,
                "Length required",
                "this server can't read a body in chunks; send a Content-Length",
            )
        # The stream may have no end, so that reading would never return.
        return b""
    body = _from_server(environ["wsgi.input"], limit + 1 if length is None else length)
    # A hook of the app may read the body again, and must not wait for more of it.
    environ["wsgi.input"] = io.BytesIO(body)
    return body


def _from_server(stream: BinaryIO | io.RawIOBase, most: int) -> bytes:
    parts: list[bytes] = []
    missing = most
    try:
        while missing and (part := _part(stream, min(missing, _PIECE))):
            parts.append(part)
            missing -= len(part)
    except TimeoutError as error:
        raise _too_slow() from error
    except Exception as error:
        # Each server raises errors of its own for a body that can't be read, with no common base.
        raise _incomplete("the body can't be read: it was cut off, or its chunks are wrong") from (
            error
        )
    return b"".join(parts)


def _part(stream: BinaryIO | io.RawIOBase, size: int) -> bytes:
    """Return up to ``size`` bytes of the stream, b"" at its end."""
    if not isinstance(stream, io.RawIOBase):
        return stream.read(size)
    # When a chunk is cut, Werkzeug's reader of chunks shrinks the buffer without an error, and
    # its read() would return memory beyond the buffer.
    buffer = bytearray(size)
    count = stream.readinto(buffer) or 0
    if len(buffer) < size:
        raise EOFError("a chunk was cut")
    return bytes(buffer[:count])


def _already_read(request: Request, limit: int) -> bytes:
    try:
        body = request.get_data()
    except TimeoutError as error:
        raise _too_slow() from error
    except RequestEntityTooLarge:
        raise _too_large(limit) from None
    except HTTPException as error:
        raise _incomplete("the body can't be read: it was cut off") from error
    bound = request.max_content_length
    if request.content_length is None and bound is not None and len(body) >= bound:
        # Werkzeug stops here without an error, perhaps before the body's end.
        raise _too_large(min(limit, bound))
    return body


def _gunzip(body: bytes, limit: int) -> bytes:
    """Return the unpacked body. It never holds more than ``limit`` bytes and one."""
    parts: list[bytes] = []
    room = limit + 1
    at = 0
    try:
        # A gzip file may have several members, one after the other.
        while at < len(body):
            member = zlib.decompressobj(wbits=31)
            while not member.eof:
                # In small pieces: zlib copies what is left of a piece when a member ends.
                piece = body[at : at + _PACKED_PIECE]
                if not piece:
                    raise zlib.error("it ends too soon")
                parts.append(member.decompress(piece, room))
                room -= len(parts[-1])
                if room <= 0:
                    raise _too_large(limit)
                at += len(piece) - len(member.unused_data)
    except zlib.error as error:
        raise BodyRefused(
            HTTPStatus.BAD_REQUEST, "Not gzip", f"the body can't be unpacked: {error}"
        ) from error
    return b"".join(parts)


def _incomplete(what: str) -> BodyRefused:
    detail = f"{what}. Nothing was stored; send it again"
    return BodyRefused(HTTPStatus.BAD_REQUEST, "Incomplete request", detail)


def _too_slow() -> BodyRefused:
    detail = "the body didn't come in time. Nothing was stored; send it again, in smaller batches"
    return BodyRefused(HTTPStatus.REQUEST_TIMEOUT, "Request timeout", detail)


def _too_large(limit: int) -> BodyRefused:
    detail = f"the body holds more than {limit} bytes (ingest.max_body); send smaller batches"
    return BodyRefused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "Too large", detail)
