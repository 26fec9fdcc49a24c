"""What access needs of Flask: the credentials of a request, and the answer to a refused one."""

from __future__ import annotations

import logging
from collections.abc import Iterable

from flask import Request, Response, request
from werkzeug.sansio.http import parse_cookie

from .. import metrics
from ..access.authenticate import Access
from ..access.credentials import HEADER_ONLY, Credentials, Rules
from ..access.principal import Principal
from ..access.refusal import Reason, Refusal
from ..exceptions import Fault
from .problem import Throttle, problem

_log = logging.getLogger(__name__)

#: Response headers of refusals that pages of other origins may read.
EXPOSED_HEADERS = ("WWW-Authenticate", "Retry-After")

_RETRY_SECONDS = 2
_TITLES = {
    Reason.INSUFFICIENT_SCOPE: "Not granted",
    Reason.UNAVAILABLE: "Not ready to check tokens",
}

#: Lets one line of each reason a second into the log.
throttle = Throttle()


def authenticate(access: Access, rules: Rules) -> Principal:
    """Return who sends the current request.

    :raises Refusal: nobody who is known.
    """
    if rules == HEADER_ONLY:
        return access.authenticate(Credentials(_authorization(request)), rules)
    return access.authenticate(credentials_of(request, access.cookie), rules)


def credentials_of(request: Request, cookie: str) -> Credentials:
    """Return what a request says of who sends it; ``cookie`` is the name of the cookie."""
    headers = request.headers
    cookies: list[str] = []
    if cookie and "Cookie" in headers:
        # WSGI has the bytes as Latin-1. Those of another cookie may be anything.
        text = headers["Cookie"].encode("latin1").decode(errors="replace")
        cookies = parse_cookie(text).getlist(cookie)
    return Credentials(
        _authorization(request),
        request.args.to_dict(flat=False),
        cookies,
        headers.get("Origin"),
        headers.get("Sec-Fetch-Site"),
        f"{request.scheme}://{request.host}" if cookies else "",
    )


def _authorization(request: Request) -> tuple[str, ...]:
    # WSGI has one value: a server joins a header that stands twice, or keeps one of the two.
    value = request.headers.get("Authorization")
    return () if value is None else (value,)


def record(refusal: Refusal, what: str, address: str | None) -> None:
    """Count a refusal by its reason, and log it; ``what`` was asked for, from this address."""
    metrics.access_refused(refusal.reason)
    if throttle.allows(refusal.reason):
        _log.warning("%s was refused to %s (%s): %s", what, address, refusal.reason, refusal)


def refusal_response(refusal: Refusal, faults: Iterable[Fault] = ()) -> Response:
    """Return the answer to a request that was refused."""
    members = {"reason": str(refusal.reason)}
    if refusal.status == 403:
        members |= {"asked": refusal.asked, "granted": refusal.granted}
    headers = {"Cache-Control": "no-store"}
    if refusal.challenge:
        headers["WWW-Authenticate"] = refusal.challenge
    return problem(
        refusal.status,
        _TITLES.get(refusal.reason, "No or wrong token"),
        refusal.detail,
        faults=faults,
        retry_after=_RETRY_SECONDS if refusal.is_temporary else None,
        headers=headers,
        members=members,
    )
