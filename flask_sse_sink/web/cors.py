"""Which pages of other origins may read a response. Rule: WHATWG Fetch, 3.3 "CORS protocol"."""

from __future__ import annotations

import re
from collections.abc import Sequence

from flask import Blueprint, Response
from flask_cors import CORS

EVERY_ORIGIN = "*"


def allow(blueprint: Blueprint, origins: Sequence[str], expose: Sequence[str]) -> None:
    """Let pages of these origins read what the blueprint answers, its errors too.

    Origins are compared to the letter. ``expose`` are the headers that scripts may see.
    """
    everybody = EVERY_ORIGIN in origins
    CORS(
        blueprint,
        # flask-cors takes text for a regular expression where it looks like one, and matches it
        # from the start only.
        origins=EVERY_ORIGIN if everybody else [_exactly(origin) for origin in origins],
        send_wildcard=everybody,
        methods=["GET", "HEAD"],
        expose_headers=list(expose),
        vary_header=False,
    )
    if not everybody:
        blueprint.after_request(_vary)


def _exactly(origin: str) -> re.Pattern[str]:
    return re.compile(rf"\A{re.escape(origin)}\Z")


def _vary(response: Response) -> Response:
    """Say to caches that the answer is of one origin, whether or not this one may read it."""
    response.vary.add("Origin")
    return response
