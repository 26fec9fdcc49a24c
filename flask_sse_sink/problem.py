"""Errors as the body of a response. Rule: RFC 9457 "Problem Details for HTTP APIs"."""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus

import msgspec
from flask import Response

from .exceptions import Fault


def problem(
    status: int,
    title: str,
    detail: str,
    *,
    faults: Iterable[Fault] = (),
    retry_after: int | None = None,
    headers: dict[str, str] | None = None,
) -> Response:
    """Return a response that says what went wrong, for people and, in ``errors``, for programs.

    ``retry_after`` is in seconds.
    """
    body: dict[str, object] = {
        "type": "about:blank",
        "title": title,
        "status": HTTPStatus(status).value,
        "detail": detail,
        "errors": [{"loc": fault.loc, "msg": fault.msg} for fault in faults],
    }
    response = Response(
        msgspec.json.encode(body) + b"\n",
        status,
        headers=headers,
        content_type="application/problem+json",
    )
    if retry_after is not None:
        response.headers["Retry-After"] = str(retry_after)
    return response
