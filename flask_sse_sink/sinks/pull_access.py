"""Who may use a pulled sink: the one place that decides it."""

from __future__ import annotations

from flask import Response, request

from ..access.authenticate import Access, granted_part, insufficient, readable
from ..access.credentials import Rules
from ..access.refusal import Refusal
from ..filters import EVERYTHING, Filter
from ..web import access as web_access


def readable_by_sender(access: Access, sink: str, setting: str) -> Filter | None:
    """Return what the sender of the current request may read of a sink, None for everything.

    ``setting`` is the sink's ``access``. Only a token in the header counts: confirming is not for
    tickets, nor for a page that sends its user's cookie, and the app's authorizer isn't asked.

    :raises Refusal: they may read nothing of it.
    """
    if setting == "none":
        return None
    principal = web_access.authenticate(access, Rules(sink=sink, app=False))
    granted = readable(principal, sink, EVERYTHING)
    return None if granted.everything else granted


def granted_filter(may_read: Filter | None, sink: str, asked: Filter) -> Filter:
    """Return the filter for what an extract gets of what it asks for.

    ``may_read`` is as :func:`readable_by_sender` returns it.

    :raises Refusal: it gets nothing, whatever events there are.
    """
    return asked if may_read is None else granted_part(may_read, sink, asked)


def not_granted(granted: Filter, sink: str) -> Refusal:
    """Return the refusal of the current request, which is for events outside the grants."""
    batch = request.args.get("batch_id")
    return insufficient(
        "the token doesn't grant every event of this; nothing was changed",
        "dead letters" if batch is None else f"batch_id={batch}",
        granted,
    )


def refused(refusal: Refusal, sink: str) -> Response:
    """Return the answer to a refused request, which is counted and logged."""
    web_access.record(refusal, f"the pulled sink {sink}", request.remote_addr)
    return web_access.refusal_response(refusal)
