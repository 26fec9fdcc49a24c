"""Examines one URL from outside: opens streams there, and says what hinders them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from . import stream_findings as found
from .asking import Asking
from .heads import cors_finding, head_findings, redirect_finding, status_finding
from .holding import WAIT_FOR_OTHER_SECONDS, hold
from .intermediaries import Intermediary, recognised
from .reading import PROBE_FRAMES, PROBE_PAUSE_SECONDS, Reading
from .report import Finding, Report
from .target import Printable, Target
from .unreachable import Unreachable
from .wire import Answer, NoAnswer, speaks_http2

# How long the first frame of a probe may take after the head of the answer.
_FIRST_FRAME_SECONDS = 2.5
# How late the last one may be.
_LATE_SECONDS = 2.0
# The second of two streams is opened so much later.
_APART_SECONDS = 1.0
_BROWSER_CODINGS = {"Accept-Encoding": "gzip, deflate, br, zstd"}
_NO_CODING = {"Accept-Encoding": "identity"}
_PROBE = {"probe": str(PROBE_FRAMES)}
# An event type that nobody publishes: a stream of it is idle.
_NO_TYPE = {"event_type": "sse-sink-doctor.idle"}


class Options(NamedTuple):
    """How to examine: for a page of this origin, within so many seconds.

    ``progress`` is told what happens meanwhile.
    """

    origin: str = ""
    seconds: float = 60.0
    progress: Callable[[str], object] = lambda text: None


def examine(target: Target, options: Options) -> Report:
    """Return what hinders streams of this URL."""
    examination = _Examination(target, options)
    try:
        examination.run()
    except Unreachable as error:
        seen = examination.printable(error.seen)
        examination.report.find(Finding("unreachable", seen, error.cause, error.cure))
    finally:
        examination.close()
    return examination.report


class _Examination:
    def __init__(self, target: Target, options: Options) -> None:
        self.printable = Printable(target.headers, target.query)
        self.report = Report(target.shown, printable=self.printable)
        self._first_target = target
        self._options = options
        self._deadline = time.monotonic() + options.seconds - WAIT_FOR_OTHER_SECONDS
        # A head that takes longer than this is held back, or its server hangs.
        patience = min(8.0, max(3.0, options.seconds / 4))
        origin = {"Origin": options.origin} if options.origin else {}
        self._asking = Asking(target, origin, patience)
        self._way: Sequence[Intermediary] = ()
        self._readings: list[Reading] = []

    def close(self) -> None:
        """Close every stream."""
        for reading in self._readings:
            reading.close()

    def run(self) -> None:
        """Fill the report.

        :raises Unreachable: there is nobody who speaks HTTP.
        """
        self._options.progress("opening a stream")
        answer = self._first_answer()
        if answer is None:
            return
        browser = self._read(answer)
        self._wait_for_probe(browser)
        is_ours = bool(browser.probe) or self._asking.identify().is_ours
        self._check_head(answer, is_ours)
        if found.is_busy(browser):
            self.report.find(found.busy(self._way))
        elif answer.media_type == "text/event-stream":
            self._check_http2()
            self._check_streams(browser, is_ours)

    # The first answer, at the end of redirects.

    def _first_answer(self) -> Answer | None:
        asking = self._asking
        try:
            answer = asking.follow(_PROBE, _BROWSER_CODINGS)
        except NoAnswer:
            self._add_redirects("where no answer begins")
            answer = self._uncompressed()
            return None if answer is None else self._accepted(answer)
        except Unreachable as error:
            self._add_redirects(error.seen)
            raise
        if answer is not None:
            self._way = recognised(answer.headers)
        self._add_redirects(asking.problem)
        return None if answer is None else self._accepted(answer)

    def _add_redirects(self, problem: str) -> None:
        """Add the finding for redirects; ``problem`` says what is wrong at their end."""
        if hops := self._asking.hops:
            self.report.find(redirect_finding(self._first_target, hops, self._way, problem))
        else:
            self.report.ok("redirect", "none")

    def _accepted(self, answer: Answer) -> Answer | None:
        """Return the answer if it is a stream; otherwise it is a finding, and None is returned."""
        if answer.status == 200:
            if not self._readings:
                self.report.ok("status", "200")
            return answer
        way = recognised(answer.headers)
        self.report.find(status_finding(answer, self._asking.sends_token, way, self.printable))
        answer.close()
        return None

    def _uncompressed(self) -> Answer | None:
        """Return the answer without compression, as with it none began.

        None if there is none either: it is held back, or nobody makes one, which is a finding.
        """
        patience = self._asking.patience
        identity = self._asking.identify()
        self._way = recognised(identity.headers)
        try:
            if not identity.headers:
                raise NoAnswer
            answer = self._asking.open(_PROBE, _NO_CODING)
        except NoAnswer:
            if identity.is_ours or self._asking.answers_head():
                self.report.find(found.no_head(patience, identity.is_ours, self._way))
            else:
                self.report.find(found.hangs(self._asking.target, patience))
            return None
        self.report.find(found.no_compressed_head(patience, self._way))
        return answer

    def _read(self, answer: Answer) -> Reading:
        reading = Reading(answer, self._asking.asked_at)
        self._readings.append(reading)
        return reading

    def _wait_for_probe(self, reading: Reading) -> None:
        """Wait until a probe is complete, or should have been."""
        until = time.monotonic() + _FIRST_FRAME_SECONDS
        reading.wait(lambda: bool(reading.probe) or reading.is_opaque, until)
        if reading.probe:
            left = PROBE_FRAMES - reading.probe[0].number
            reading.wait_for_probe(left * PROBE_PAUSE_SECONDS + _LATE_SECONDS)
        elif reading.is_opaque:
            reading.wait_for_probe(PROBE_FRAMES * PROBE_PAUSE_SECONDS)

    # What the head shows.

    def _check_head(self, answer: Answer, is_ours: bool) -> None:
        report, origin = self.report, self._options.origin
        for finding in head_findings(answer, self._way, is_ours):
            report.find(finding)
        codes = [finding.code for finding in report.findings]
        if "caching" not in codes:
            report.ok("caching", self.printable(answer.header("cache-control"), 80) or "no header")
        if "content_type" in codes:
            return
        report.ok("content_type", self.printable(answer.header("content-type"), 80))
        cors = cors_finding(answer, origin, self._way, self.printable) or self._preflight()
        if cors is not None:
            report.find(cors)
        elif origin:
            report.ok("cors", f"{origin} may read it")
        else:
            report.skip("cors", "name the origin of your page with --origin")

    def _preflight(self) -> Finding | None:
        """Return what keeps a page from sending a token, if there is one."""
        if not (self._asking.sends_token and self._options.origin):
            return None
        problem = self._asking.preflight()
        return found.no_preflight(self.printable(problem), self._way) if problem else None

    def _check_http2(self) -> None:
        target = self._asking.target
        if target.is_loopback and target.scheme == "http":
            self.report.skip("http1_limit", "without TLS, on this machine alone")
        elif speaks_http2(target):
            self.report.ok("http1_limit", "HTTP/2 is offered")
        else:
            self.report.find(found.http1_limit(target, self._way))

    # What the streams show.

    def _check_streams(self, browser: Reading, is_ours: bool) -> None:
        # Of a sink with replay, the first frame has the newest id: nothing is replayed after it.
        sent_id = (browser.frames[0].id if browser.frames else "") or "1"
        self._options.progress("opening two more")
        chatty = self._open(_PROBE, _NO_CODING | {"Last-Event-ID": sent_id})
        if chatty is None:
            return
        chatty.wait(lambda: False, chatty.opened_at + _APART_SECONDS)
        idle = self._open_idle()
        self._wait_for_probe(chatty)
        probes = found.Probes(browser, chatty, is_ours)
        for finding in found.probe_findings(probes, sent_id, self._way):
            self.report.find(finding)
        found.note_checks(self.report, probes)
        if idle is not None:
            left = self._deadline - time.monotonic()
            if left > 1:
                self._options.progress(f"holding two streams for {left:.0f} s")
            hold(self.report, (chatty, idle), self._deadline, self._way)

    def _open(self, query: Mapping[str, str], headers: Mapping[str, str]) -> Reading | None:
        """Open one more stream; None where it isn't let in, which is a finding."""
        try:
            answer = self._accepted(self._asking.open(query, headers))
        except NoAnswer:
            self.report.find(found.no_head(self._asking.patience, True, self._way))
            return None
        return None if answer is None else self._read(answer)

    def _open_idle(self) -> Reading | None:
        """Open a stream on which nothing but heartbeats comes, if that is allowed."""
        try:
            answer = self._asking.open(_NO_TYPE, _NO_CODING)
        except NoAnswer:
            return None
        if answer.status == 200:
            return self._read(answer)
        # Perhaps the grants leave nothing of it.
        answer.close()
        return self._open({}, _NO_CODING)
