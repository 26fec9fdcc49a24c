"""Texts that are served as they are: compressed for clients that take that, and by their ETag."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Mapping

from flask import Response, request


class StaticText:
    """A text, and the same compressed. Each form has an ETag of its own."""

    def __init__(self, text: bytes) -> None:
        self.text = text
        self._compressed = gzip.compress(text, mtime=0)
        self._etag = hashlib.sha256(text).hexdigest()[:32]

    def response(self, headers: Mapping[str, str]) -> Response:
        """Return the answer to the current request, which is a 304 if the client has the text."""
        response = Response(self.text, headers=dict(headers))
        response.set_etag(self._etag)
        response.vary.add("Accept-Encoding")
        if request.accept_encodings.quality("gzip") > 0:
            response.set_data(self._compressed)
            response.set_etag(f"{self._etag}-gzip")
            response.content_encoding = "gzip"
        response.make_conditional(request)
        return response
