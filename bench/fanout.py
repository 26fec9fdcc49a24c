"""Fan-out: events are published, and each is delivered to all the clients that ask for it."""

from __future__ import annotations

import contextlib
import time

from .audience import audience
from .child import Child
from .publisher import Report
from .replay import Report as ReplayReport
from .replay import again_and_again
from .results import Row
from .scenario import WINDOW, Scenario
from .session import Session
from .system import Usage

_STALL_SECONDS = 1.0
_DRAIN_SECONDS = 8.0
_LATE_SECONDS = 30.0


def fanout(session: Session, scenario: Scenario) -> Row:
    """Measure latencies and processor time of deliveries."""
    with contextlib.ExitStack() as stack:
        replays = None
        if scenario.replaying:
            replays = stack.enter_context(again_and_again(session, scenario.replaying))
            replays.go()
        row = _FanOut(session, scenario).measure()
        if replays:
            replays.go()
            replayed = replays.report(ReplayReport)
            row.replayed_mib_per_second = replayed.bytes / replayed.seconds / 2**20
    return row


class _FanOut:
    """One measurement."""

    def __init__(self, session: Session, scenario: Scenario) -> None:
        self._session = session
        self._scenario = scenario
        self._clients = session.clients
        self._batch = scenario.batch or 1
        self._audience = audience(scenario, len(session.clients))
        self._expected = self._audience.expected
        # Event number n has topic n % topics.
        self._first = session.next + -session.next % len(self._expected)
        self._window = 0
        if not scenario.rate:
            self._window = 2 if scenario.batch else WINDOW
        self._completed = 0
        self._stalls = 0

    def measure(self) -> Row:
        scenario = self._scenario
        spec = self._session.spec(
            self._audience.topics,
            batch=scenario.batch,
            seconds=scenario.seconds,
            rate=scenario.rate,
            window=self._window,
            # Several, so that a POST doesn't wait for the answer to the one before.
            connections=1 if 0 < scenario.rate <= 2 else 4,
            first=self._first,
        )
        self._clients.begin(self._first)
        with Child("publisher", spec) as publisher:
            usage = Usage(self._session.server)
            publisher.go()
            self._deliver(publisher)
            report = publisher.report(Report)
            self._drain(self._audience.due(report.events))
            usage.stop()
        self._session.next = self._first + report.events
        row = self._row(report, usage)
        self._clients.receive(0.3)
        return row

    def _deliver(self, publisher: Child) -> None:
        """Read what is delivered until the publisher has ended."""

        def completed(events: int) -> None:
            self._completed += events
            if self._window and self._completed >= self._batch:
                publisher.write(b"." * (self._completed // self._batch))
                self._completed %= self._batch

        until = time.monotonic() + self._scenario.seconds + _LATE_SECONDS
        reads = 0
        while not self._clients.receive(
            _STALL_SECONDS, self._expected, completed, publisher.fileno()
        ):
            if self._clients.reads == reads and self._window:
                # Events were lost: the publisher must not wait for their deliveries.
                self._stalls += 1
                publisher.write(b"." * self._window)
            reads = self._clients.reads
            if time.monotonic() > until:
                raise RuntimeError(f"the publisher is {_LATE_SECONDS:g} s late")

    def _drain(self, deliveries: int) -> None:
        """Read until all deliveries are made, or none comes any more."""
        until = time.monotonic() + _DRAIN_SECONDS
        while len(self._clients.latencies) < deliveries and time.monotonic() < until:
            reads = self._clients.reads
            self._clients.receive(0.25, self._expected)
            if self._clients.reads == reads and time.monotonic() > until - _DRAIN_SECONDS / 2:
                break

    def _row(self, report: Report, usage: Usage) -> Row:
        clients, scenario = self._clients, self._scenario
        row = self._session.row(scenario, len(clients))
        row.batch, row.filters = self._batch, scenario.filters + scenario.others
        row.rate = scenario.rate or None
        row.events, row.deliveries = report.events, len(clients.latencies)
        row.missing = sum(
            max(self._expected[number % len(self._expected)] - clients.counts[number], 0)
            for number in range(self._first, self._first + report.events)
        )
        row.repeated = row.deliveries + row.missing - self._audience.due(report.events)
        row.notes = self._notes(report)
        row.cpu_percent = 100 * usage.server / usage.seconds
        row.cpu_us_per_event = usage.server * 1e6 / max(report.events, 1)
        row.load_percent = 100 * max(
            usage.own / usage.seconds, report.cpu_seconds / max(report.seconds, 0.1)
        )
        if row.deliveries:
            self._figures(row, report, usage)
        elif any(self._expected):
            row.notes.append("nothing was delivered")
        return row

    def _figures(self, row: Row, report: Report, usage: Usage) -> None:
        clients, deliveries = self._clients, len(self._clients.latencies)
        sent = self._session.board.sent[self._first]
        row.seconds = max((clients.last_ns - sent) / 1e9, report.seconds)
        row.deliveries_per_second = deliveries / row.seconds
        row.events_per_second = report.events / row.seconds
        times = sorted(clients.latencies)
        row.p50_ms = times[deliveries // 2] / 1e6
        row.p99_ms = times[min(deliveries * 99 // 100, deliveries - 1)] / 1e6
        row.bytes_per_delivery = clients.bytes / deliveries
        row.cpu_us = usage.server * 1e6 / deliveries
        row.helper_cpu_us = {name: used * 1e6 / deliveries for name, used in usage.helpers.items()}
        row.load_cpu_us = usage.own * 1e6 / deliveries

    def _notes(self, report: Report) -> list[str]:
        clients, scenario = self._clients, self._scenario
        notes = []
        most = max(clients.received.values(), default=0)
        if not scenario.filters and most > report.events:
            notes.append("a client received more events than were published")
        if report.failed:
            notes.append(f"{report.failed} POSTs failed: {report.error}")
        if clients.ended:
            notes.append(f"{len(clients.ended)} streams ended: {clients.ended[0]}")
        if scenario.rate and report.events < 0.95 * scenario.rate * scenario.seconds:
            notes.append(
                f"fell behind: {report.events / report.seconds:.1f} of "
                f"{scenario.rate:g} events/s were accepted"
            )
        if self._stalls:
            notes.append(f"stalled {self._stalls} times, because events were lost")
        return notes
