"""Holds two streams, and says what cut them."""

from __future__ import annotations

import time
from collections.abc import Sequence

from .cures import finding
from .intermediaries import Intermediary
from .reading import Reading
from .report import Finding, Limit, Report
from .stream_findings import holds_back
from .timing import IDLE, TOTAL, Course, Cut, judge

Way = Sequence[Intermediary]

#: How long the second of two streams may last after the first was cut.
WAIT_FOR_OTHER_SECONDS = 4.0
# How much later than its time a heartbeat may come.
_HEARTBEAT_GRACE_SECONDS = 5.0


def hold(report: Report, streams: tuple[Reading, Reading], until: float, way: Way) -> None:
    """Keep a chatty and an idle stream open until this time, or until something cuts them.

    The report gets what cut them, or for how long nothing did.
    """
    chatty, idle = streams
    while time.monotonic() < until and not (chatty.ended_at or idle.ended_at):
        for reading in streams:
            reading.wait(lambda: False, min(until, time.monotonic() + 0.1))
    if chatty.ended_at or idle.ended_at:
        # The other one may follow.
        until = time.monotonic() + WAIT_FOR_OTHER_SECONDS
        chatty.wait(lambda: False, until)
        idle.wait(lambda: False, until)
    word = chatty.parting or idle.parting
    if word:
        report.skip("idle_timeout", f"the server itself ended a stream: {word}")
        return
    cut = judge(Course.of(chatty), Course.of(idle), time.monotonic())
    _add_cut(report, cut, idle, way)


def _add_cut(report: Report, cut: Cut | None, idle: Reading, way: Way) -> None:
    """Add what cut the streams that were held, or for how long nothing did."""
    if cut is not None:
        report.find(_cut_finding(cut, report.heartbeat_timeout, way))
    timeout, held = report.heartbeat_timeout, idle.seconds_open
    if cut is None and timeout is not None and held > timeout + _HEARTBEAT_GRACE_SECONDS:
        if idle.longest_silence > timeout + _HEARTBEAT_GRACE_SECONDS:
            seen = f"no heartbeat came for {idle.longest_silence:.0f} s, one was due each "
            report.find(finding("buffering", f"{seen}{timeout:g} s", holds_back(), way))
    _add_limits(report, idle, way)
    codes = {each.code for each in report.findings}
    if not codes & {"idle_timeout", "total_timeout"}:
        report.ok("total_timeout", f"not within {held:.0f} s")
        seen = f"not after {idle.longest_silence:.0f} s of silence"
        if timeout is not None and idle.longest_silence < timeout * 0.9:
            seen += f"; --seconds {timeout + 15:.0f} or more would reach the first heartbeat"
        report.ok("idle_timeout", seen)


def _cut_finding(cut: Cut, heartbeat_timeout: float | None, way: Way) -> Finding:
    seconds = f"{cut.seconds:.1f} s"
    if cut.kind == IDLE:
        beside = (
            ""
            if heartbeat_timeout is None
            else (
                f"; the server sends a heartbeat after {heartbeat_timeout:g} s (heartbeat_timeout)"
            )
        )
        return finding(
            "idle_timeout",
            f"streams are cut after {seconds} of silence{beside}",
            "something on the way ends responses that are silent",
            way,
        )
    if cut.kind == TOTAL:
        return finding(
            "total_timeout",
            f"streams are cut at an age of {seconds}, silent or not",
            "something on the way ends responses at an age",
            way,
        )
    return finding(
        "total_timeout",
        f"a stream was cut after {seconds}",
        "one cut alone, or two at one moment, don't show a rule: the server or a proxy was "
        "restarted, a worker crashed, or the network failed",
        way,
        "run doctor again",
    )


def _add_limits(report: Report, idle: Reading, way: Way) -> None:
    """Add the known limits on the way, and a finding for one that silence would reach."""
    timeout = report.heartbeat_timeout
    for each in way:
        report.limits += each.limits
        for limit in each.limits:
            if timeout is not None and _will_cut(limit, timeout, idle):
                report.find(
                    finding(
                        "idle_timeout",
                        f"{limit.name} ends a response after {limit.seconds:g} s of silence, by "
                        f"default; the first heartbeat comes after {timeout:g} s",
                        "heartbeat_timeout of the sink is too long for what stands on the way",
                        [each],
                        f"set heartbeat_timeout below {limit.seconds:g} s",
                    )
                )


def _will_cut(limit: Limit, heartbeat_timeout: float, idle: Reading) -> bool:
    """Return whether a limit of silence would end streams, and wasn't seen not to."""
    is_too_short = limit.kind == "idle" and limit.seconds <= heartbeat_timeout
    return is_too_short and idle.longest_silence < limit.seconds
