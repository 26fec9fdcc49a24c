"""The requests of an examination: all go to one target, which redirects may change."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from .heads import is_redirect
from .target import BadUrl, Target, problem_members
from .unreachable import Unreachable
from .wire import Answer, NoAnswer, Request, send

_MAX_REDIRECTS = 5
_CREDENTIALS = ("authorization", "cookie")


class Identity(NamedTuple):
    """Whether a server is known to be one of this package, and the headers of its answer."""

    is_ours: bool
    headers: Sequence[tuple[str, str]]


class Asking:
    """Sends requests to ``target``, each of which has these headers.

    An answer may take ``patience`` seconds to begin.
    """

    def __init__(self, target: Target, headers: Mapping[str, str], patience: float) -> None:
        self.target = target
        self.patience = patience
        #: The redirects that were followed: their status, and where they led to.
        self.hops: list[tuple[int, Target]] = []
        #: What is wrong with the last redirect, "" if nothing.
        self.problem = ""
        #: When the last request was sent, on the monotonic clock.
        self.asked_at = 0.0
        self._headers = dict(headers)

    @property
    def sends_token(self) -> bool:
        """Return whether each request has credentials."""
        return any(name.lower() in _CREDENTIALS for name, _ in self.target.headers)

    def open(self, query: Mapping[str, str], headers: Mapping[str, str]) -> Answer:
        """Return the answer to a request with these parameters in the URL's query.

        :raises Unreachable: there is nobody who speaks HTTP.
        :raises NoAnswer: no answer has begun in time.
        """
        self.asked_at = time.monotonic()
        path = self.target.request_target(**query)
        return send(self.target, Request(path, {**self._headers, **headers}, self.patience))

    def follow(self, query: Mapping[str, str], headers: Mapping[str, str]) -> Answer | None:
        """Return the answer at the end of redirects, None where they lead nowhere.

        ``target`` is where they lead to afterwards.

        :raises Unreachable: there is nobody who speaks HTTP.
        :raises NoAnswer: no answer has begun in time.
        """
        answer = self.open(query, headers)
        while is_redirect(answer):
            status, location = answer.status, answer.header("location")
            answer.close()
            try:
                self.target = self.target.redirected(location)
            except BadUrl:
                self.problem = "and on to what is no URL of HTTP"
            self.hops.append((status, self.target))
            if len(self.hops) > _MAX_REDIRECTS:
                self.problem = "and on, perhaps without end"
            if self.problem:
                return None
            answer = self.open(query, headers)
        return answer

    def identify(self) -> Identity:
        """Return what a request tells that is answered shortly, without a stream."""
        try:
            answer = self.open({"probe": "x"}, {})
        except (NoAnswer, Unreachable):
            return Identity(False, ())
        try:
            title = ""
            if answer.status == 400:
                title = str(problem_members(answer.short_body()).get("title"))
            return Identity(title == "Malformed probe", answer.headers)
        finally:
            answer.close()

    def answers_head(self) -> bool:
        """Return whether a request for the head alone is answered."""
        try:
            path = self.target.request_target()
            send(self.target, Request(path, self._headers, self.patience, "HEAD")).close()
        except (NoAnswer, Unreachable):
            return False
        return True

    def preflight(self) -> str:
        """Return why a page may not send the header Authorization, "" if it may."""
        asks = {
            "Access-Control-Request-Method": "GET",
            "Access-Control-Request-Headers": "authorization",
        }
        # Browsers send no credentials with it.
        stranger = self.target._replace(headers=())
        path = self.target.request_target()
        try:
            answer = send(
                stranger, Request(path, {**self._headers, **asks}, self.patience, "OPTIONS")
            )
        except NoAnswer:
            return "no answer"
        try:
            allowed = answer.header("access-control-allow-headers").lower()
            if answer.status < 300 and ("authorization" in allowed or allowed == "*"):
                return ""
            return f"status {answer.status}, Access-Control-Allow-Headers: {allowed or 'none'}"
        finally:
            answer.close()
