"""The response of a stream. It has no end, so what would read it to its end is refused."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from flask import Response

_log = logging.getLogger(__name__)

_altered_warned = False


class EndlessStream(RuntimeError):
    """An operation needs the whole body of a stream, which never ends."""

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what} needs the whole body, but this response is a stream of server-sent events, "
            "which has no end. Leave streams alone: begin the function (of after_request, say) "
            "with `if response.is_streamed: return response`."
        )


def warn_altered(how: str) -> None:
    """Log, once a process, that something changes streams before the server gets them."""
    global _altered_warned
    if _altered_warned:
        return
    _altered_warned = True
    _log.warning(
        "streams are changed on their way to the server (%s): their clients get events late or "
        "not at all, and none is sent directly. Leave text/event-stream out of what is compressed "
        "or buffered: with Flask-Compress, out of COMPRESS_MIMETYPES; in a middleware, by its "
        "Content-Type.",
        how,
    )


if TYPE_CHECKING:
    _Base = Response
else:
    _Base = object


class _Streamed(_Base):
    """What a stream's response does differently from the app's other responses.

    Once its body is replaced by one that has an end, it behaves like the others.
    """

    def _refuse(self, what: str) -> None:
        if not self.is_sequence:
            raise EndlessStream(what)

    # Werkzeug calls it wherever it needs the body. calculate_content_length() takes a RuntimeError
    # for "not known", so that make_conditional() does no harm.
    def _ensure_sequence(self, mutable: bool = False) -> None:
        self._refuse("this operation")
        super()._ensure_sequence(mutable)

    def get_data(self, as_text: Any = False) -> Any:
        """Return the body, which a stream doesn't have."""
        self._refuse("get_data() or .data")
        return super().get_data(as_text)

    def set_data(self, value: bytes | str) -> None:
        """Answer with this instead of the stream, and give the stream's slot back at once."""
        close = getattr(getattr(self, "response", None), "close", None)
        super().set_data(value)
        if close is not None:
            close()

    # A property calls the functions that it was made from.
    data = property(lambda self: self.get_data(), lambda self, value: self.set_data(value))

    def make_sequence(self) -> None:
        """Read the body into a list, which a stream never gets to."""
        self._refuse("make_sequence()")
        super().make_sequence()

    def freeze(self) -> None:
        """Make the response ready to be pickled, which a stream never is."""
        self._refuse("freeze()")
        super().freeze()

    def add_etag(self, overwrite: bool = False, weak: bool = False) -> None:
        """Add an ETag made from the body, which a stream doesn't have."""
        if overwrite or "etag" not in self.headers:
            self._refuse("add_etag()")
        super().add_etag(overwrite, weak)

    def get_wsgi_headers(self, environ: Any) -> Any:
        """Return the headers as they are sent."""
        headers = super().get_wsgi_headers(environ)
        if not self.is_sequence and "Content-Encoding" in headers:
            warn_altered(f"Content-Encoding: {headers['Content-Encoding']}")
        return headers


def stream_response_class(kind: type[Response]) -> type[Response]:
    """Return the class of stream responses for an app whose responses are of class ``kind``.

    It is a subclass of ``kind``: Flask would convert any other response into the app's own class.
    """
    return type("StreamResponse", (_Streamed, kind), {})
