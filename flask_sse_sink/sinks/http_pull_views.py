"""The endpoints of a pulled sink: what they read from a request, do, and answer."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack

import msgspec
from flask import Response, request

from .. import metrics
from ..access.refusal import Refusal
from ..exceptions import LogUnavailable, ServerStopping, TooManyClients
from ..filters import Filter
from ..log.deliveries import Missed, UnknownBatch, deliveries_of
from ..log.protocol import iso
from ..pull import parameters
from ..pull.consumption import Consumption, NotGranted
from ..pull.extraction import Batch
from ..pull.parameters import BadParameter
from ..pull.settings import PullSettings
from ..pull.waiting import Waiter, Waiters
from ..stream.connection import Connection
from ..web import body
from ..web.body import BodyRefused
from ..web.problem import problem, public_cause
from .base import Host
from .http_pull_description import MAX_BODY
from .pull_access import granted_filter, not_granted, readable_by_sender, refused

_MICROSECONDS = 1_000_000
_TOO_LARGE = f"the body holds more than {MAX_BODY} bytes; name fewer ids"
_RETRY_SECONDS = 2

_View = Callable[[Mapping[str, list[str]], Filter | None], Response]


class PullViews:
    """What answers the requests to a sink.

    ``consumption`` returns what works on the log; after a fork that is another one.
    """

    def __init__(
        self,
        name: str,
        settings: PullSettings,
        host: Host,
        consumption: Callable[[], Consumption],
        waiters: Waiters,
    ) -> None:
        self.name = name
        self.settings = settings
        self._host = host
        self._consumption = consumption
        self._waiters = waiters

    @property
    def consumption(self) -> Consumption:
        """Return what consumers do with the sink's events."""
        return self._consumption()

    def in_order(self) -> list[Callable[[], Response]]:
        """Return the views for Flask, in the order of the sink's routes."""
        views = self.extract, self.mark_processed, self.extend, self.release, self.dead, self.retry
        return [self._answering(view) for view in views]

    def _answering(self, view: _View) -> Callable[[], Response]:
        """Return a view for Flask: it checks access, and turns errors into answers."""

        @functools.wraps(view)
        def respond() -> Response:
            response = answer()
            # Errors, too: the next request may get events.
            response.headers["Cache-Control"] = "no-store"
            return response

        def answer() -> Response:
            if request.method == "HEAD":
                # Extracting makes a batch, so that a HEAD would do something.
                headers = {"Allow": "GET, OPTIONS"}
                return problem(405, "Method not allowed", "send GET", headers=headers)
            try:
                may_read = self._may_read()
                self._host.started()
                return view(request.args.to_dict(flat=False), may_read)
            except Refusal as refusal:
                return refused(refusal, self.name)
            except BadParameter as error:
                return problem(400, f"Malformed {error.name}", str(error))
            except BodyRefused as error:
                detail = error.detail if error.status != 413 else _TOO_LARGE
                return problem(error.status, error.title, detail, headers=error.headers)
            except UnknownBatch as error:
                detail = f"{error} is no batch of this sink; send the `batch_id` of an extract"
                return problem(404, "Unknown batch", detail)
            except NotGranted as error:
                return refused(not_granted(error.readable, self.name), self.name)
            except LogUnavailable as error:
                return problem(
                    503,
                    "The event log is away",
                    public_cause(error),
                    retry_after=_RETRY_SECONDS,
                )

        return respond

    def _may_read(self) -> Filter | None:
        """Return what the sender of the request may read, None for everything.

        :raises Refusal: they may read nothing.
        """
        return readable_by_sender(self._host.access, self.name, self.settings.access)

    def extract(self, query: Mapping[str, list[str]], may_read: Filter | None) -> Response:
        asked = parameters.parse_extract(query, self.settings)
        filter = granted_filter(may_read, self.name, asked.filter)

        def once() -> Batch:
            began = time.perf_counter()
            batch = self.consumption.extraction.extract(filter, asked.batch_size, asked.lease_us)
            metrics.pulled().extracted(
                self.name,
                len(batch.envelopes),
                sum(id in batch.attempts for id, _ in batch.envelopes),
                time.perf_counter() - began,
            )
            return batch

        def still_allowed() -> Batch:
            # A token may end, or be revoked, during a wait.
            if self._may_read() != may_read:
                return Batch(0, [], 0, 0, {}, None)
            return once()

        batch = once()
        if not batch.id and asked.wait:
            try:
                batch = self._wait(still_allowed, filter, asked.wait)
            except ServerStopping:
                pass
            except TooManyClients as error:
                return problem(503, "Too many clients", str(error), retry_after=_RETRY_SECONDS)
        return _reply(batch, with_lease=asked.lease_us > 0)

    def _wait(self, once: Callable[[], Batch], filter: Filter, seconds: float) -> Batch:
        """Wait for a batch, with a slot and with the connection watched.

        :raises TooManyClients: there is no slot.
        """
        waiter = Waiter(self.settings.rules.match.narrowed(filter))
        with ExitStack() as stack:
            self._host.admission.measure(request.environ)
            slot = stack.enter_context(
                self._host.admission.admit(self.name, address=request.remote_addr)
            )
            stack.callback(slot.give_back)
            slot.begin()
            self._waiters.add(waiter)
            stack.callback(self._waiters.discard, waiter)
            metrics.pulled().waiting(self.name, 1)
            stack.callback(metrics.pulled().waiting, self.name, -1)
            connection = Connection.of(request.environ)
            if connection is not None:
                watcher = self._host.started().watcher
                watcher.add(waiter, connection)
                stack.callback(watcher.discard, waiter, connection)
            if self._host.admission.draining:
                waiter.drop("drained")
            return waiter.wait(once, seconds, deliveries_of(self._host.log).now_us)

    def mark_processed(self, query: Mapping[str, list[str]], may_read: Filter | None) -> Response:
        ids = parameters.ids_in(body.read(request, MAX_BODY))
        missed = parameters.id_in(query, "missed")
        count = 0
        if missed is None or parameters.id_in(query, "batch_id") is not None:
            count = self.consumption.confirm(parameters.batch_in(query), ids, may_read)
            metrics.pulled().confirmed(self.name, count)
        # After the batch: a request that is refused changes nothing.
        if missed is not None:
            self.consumption.acknowledge(missed)
        return _success(marked_count=count)

    def extend(self, query: Mapping[str, list[str]], may_read: Filter | None) -> Response:
        batch, lease = parameters.batch_in(query), parameters.seconds(query, "lease")
        seconds = self.settings.lease if lease is None else lease
        if not seconds:
            raise BadParameter("lease", "it is missing, or 0; send for how long, e.g. `lease=30s`")
        count, until_us = self.consumption.extend(batch, round(seconds * _MICROSECONDS), may_read)
        return _success(extended_count=count, leased_until=iso(until_us))

    def release(self, query: Mapping[str, list[str]], may_read: Filter | None) -> Response:
        batch, delay = parameters.batch_in(query), parameters.seconds(query, "delay") or 0.0
        count = self.consumption.release(batch, round(delay * _MICROSECONDS), may_read)
        self._waiters.wake_all()
        return _success(released_count=count)

    def dead(self, query: Mapping[str, list[str]], may_read: Filter | None) -> Response:
        limit = parameters.batch_size(query, self.settings)
        after = parameters.id_in(query, "after") or 0
        letters = self.consumption.dead(after, limit, may_read)
        attempts = {str(stored[0]): count for stored, count in letters}
        return _json(
            b'{"events":['
            + b",".join(stored[1] for stored, _ in letters)
            + b'],"attempts":'
            + msgspec.json.encode(attempts)
            + b"}\n"
        )

    def retry(self, query: Mapping[str, list[str]], may_read: Filter | None) -> Response:
        ids = parameters.ids_in(body.read(request, MAX_BODY))
        count = self.consumption.retry(ids, may_read)
        self._waiters.wake_all()
        return _success(retried_count=count)


def _reply(batch: Batch, *, with_lease: bool) -> Response:
    """Return the answer to an extract."""
    rest: dict[str, object] = {"remaining_events": batch.remaining}
    if with_lease and batch.id:
        rest["leased_until"] = iso(batch.until_us)
        if batch.attempts:
            rest["attempts"] = {str(id): count for id, count in batch.attempts.items()}
    if batch.missed is not None:
        rest["missed"] = _missed(batch.missed)
    # The envelopes are JSON already.
    return _json(
        b'{"batch_id":'
        + msgspec.json.encode(batch.id or None)
        + b',"events":['
        + b",".join(envelope for _, envelope in batch.envelopes)
        + b"],"
        + msgspec.json.encode(rest)[1:]
        + b"\n"
    )


def _missed(missed: Missed) -> dict[str, int | None]:
    return {
        "id": missed.id,
        "count": missed.count,
        "first_id": missed.first_id,
        "last_id": missed.last_id,
    }


def _success(**values: object) -> Response:
    return _json(msgspec.json.encode({"status": "success", **values}) + b"\n")


def _json(content: bytes) -> Response:
    return Response(content, content_type="application/json")
