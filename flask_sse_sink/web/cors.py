"""Which pages of other origins may read a response. Rule: WHATWG Fetch, 3.3 "CORS protocol"."""

from __future__ import annotations

import re
from collections.abc import Sequence

from flask import Blueprint, Response
from flask_cors import CORS

EVERY_ORIGIN = "*"


def allow(
    blueprint: Blueprint,
    origins: Sequence[str],
    expose: Sequence[str],
    credentials: bool = False,
    methods: Sequence[str] = ("GET", "HEAD"),
) -> None:
    """Let pages of these origins read the answers of the blueprint, its errors included.

    Origins are compared exactly. ``expose`` are the response headers that scripts may read;
    ``credentials`` says whether the requests of these pages may carry cookies.
    """
    every_origin = EVERY_ORIGIN in origins
    CORS(
        blueprint,
        # flask-cors treats text that looks like a regular expression as one, and matches it from
        # the start only: it would also match longer origins.
        origins=EVERY_ORIGIN if every_origin else [_exactly(origin) for origin in origins],
        send_wildcard=every_origin,
        methods=list(methods),
        expose_headers=list(expose),
        supports_credentials=credentials,
        vary_header=False,
    )
    if not every_origin:
        blueprint.after_request(_vary)


def _exactly(origin: str) -> re.Pattern[str]:
    return re.compile(rf"\A{re.escape(origin)}\Z")


def _vary(response: Response) -> Response:
    """Tell caches that the answer depends on the origin, whether or not this one may read it."""
    response.vary.add("Origin")
    return response
