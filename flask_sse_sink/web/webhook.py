"""The handshake of webhooks: a sender asks whether it may send events here.

Rule: CloudEvents, "HTTP 1.1 Web Hooks for Event Delivery", 4 "Abuse Protection".
"""

from __future__ import annotations

import re
from collections.abc import Collection

from flask import Request, Response

EVERY_SENDER = "*"

# What a name of a sender may hold: it is sent back.
_NAME = re.compile(r"[A-Za-z0-9._*-]{1,253}(:[0-9]{1,5})?")


def answer(request: Request, senders: Collection[str]) -> Response:
    """Return the answer to an ``OPTIONS`` request.

    ``senders`` are the names of those that may send, in lower case; ``*`` stands for everybody. A
    sender that may not is told so by the headers that are left out, as the rule says.
    """
    response = Response(status=200)
    response.headers["Allow"] = "OPTIONS, POST"
    name = request.headers.get("WebHook-Request-Origin", "").strip()
    if _NAME.fullmatch(name) and (EVERY_SENDER in senders or name.lower() in senders):
        response.headers["WebHook-Allowed-Origin"] = name
        response.headers["WebHook-Allowed-Rate"] = "*"
    return response
