"""What the course of streams shows, as findings."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from .cures import finding
from .intermediaries import Intermediary
from .reading import PROBE_FRAMES, Reading
from .report import Finding, Report
from .target import Target
from .timing import Verdict, verdict

Way = Sequence[Intermediary]


class Probes(NamedTuple):
    """Two streams with a probe: as a browser opens it, and without compression.

    The second sent a ``Last-Event-ID``. ``is_ours`` says whether the server is one of this
    package.
    """

    browser: Reading
    plain: Reading
    is_ours: bool

    @property
    def coding(self) -> str:
        """Return how the browser's stream is compressed, "" if it isn't."""
        coding = self.browser.answer.header("content-encoding").lower()
        return "" if coding == "identity" else coding


def probe_findings(probes: Probes, sent_id: str, way: Way) -> Iterator[Finding]:
    """Yield what the two probes show; ``sent_id`` is what the second sent as its last id."""
    yield from _delay_findings(probes, way)
    if cut := _cut_in_probe(probes):
        yield finding(
            "total_timeout",
            f"a stream was cut after {cut:.1f} s, while frames came every 0.2 s",
            "something ends responses at an age or a size; or the server crashed",
            way,
        )
    frames = [*probes.browser.probe, *probes.plain.probe]
    if any(frame.protocol == "HTTP/1.0" for frame in frames):
        yield finding(
            "http10",
            "the request reaches the server in HTTP/1.0",
            "the proxy speaks HTTP/1.0 to the server, which then can't send directly (about ten "
            "times the cost for each event), nor keep connections open",
            way,
        )
    if probes.plain.probe and probes.plain.probe[0].last_event_id != sent_id:
        yield finding(
            "last_event_id_lost",
            "the server doesn't see the header Last-Event-ID",
            "a proxy drops it, so that a client that comes back misses what came meanwhile",
            way,
        )
    if _is_repeated(probes):
        yield finding(
            "caching",
            "two requests got the same frames",
            "a cache answers in the server's place",
            way,
        )


def _delay_findings(probes: Probes, way: Way) -> Iterator[Finding]:
    of_browser, of_plain = verdict(probes.browser), verdict(probes.plain)
    late = (Verdict.HELD, Verdict.ABSENT)
    is_late = of_plain in late and of_browser in (*late, Verdict.CUT) and probes.is_ours
    if is_late:
        yield finding("buffering", _how_late(probes.plain), holds_back(), way)
    if probes.coding:
        effect = "; its frames come late" if of_browser in late and not is_late else ""
        cause = "something compresses the stream although it says no-transform"
        if not probes.is_ours:
            cause = "the server or something on the way compresses the stream"
        cause += (
            ": events wait in the compressor until it has enough"
            if effect
            else (": it takes memory for each stream, and may hold events back")
        )
        seen = f"Content-Encoding: {probes.coding[:20]}{effect}"
        yield finding("compression", seen, cause, way)


def _how_late(reading: Reading) -> str:
    count = len(reading.probe)
    if not reading.arrivals:
        return "the head of the answer came, but no frame"
    if count < PROBE_FRAMES:
        return f"{count} of {PROBE_FRAMES} frames of the probe came in time"
    return f"{PROBE_FRAMES} frames that were sent 0.2 s apart came together"


def holds_back() -> str:
    """Return the cause of frames that come late."""
    return "something on the way collects the answer before it passes it on"


def _cut_in_probe(probes: Probes) -> float:
    """Return at which age a stream was cut during its probe, 0 where none was."""
    for reading in (probes.browser, probes.plain):
        if verdict(reading) is Verdict.CUT and reading.probe and not reading.parting:
            return (reading.ended_at or 0.0) - reading.opened_at
    return 0.0


def _is_repeated(probes: Probes) -> bool:
    first, second = probes.browser.probe, probes.plain.probe
    return bool(first and second) and first[0].sent_at == second[0].sent_at


def note_checks(report: Report, probes: Probes) -> None:
    """Note what the probes showed to be right, or couldn't show."""
    codes = {each.code for each in report.findings}
    frames = probes.plain.probe or probes.browser.probe
    if not frames:
        if "buffering" not in codes:
            report.skip(
                "buffering",
                "the server sends no probe: it is none of this package, so that its delays and "
                "what it gets of Last-Event-ID aren't known",
            )
        return
    report.heartbeat_timeout = frames[0].heartbeat_timeout
    for code, seen in (
        ("buffering", f"{len(frames)} of {PROBE_FRAMES} frames came in time"),
        ("http10", f"the server sees {frames[0].protocol[:10]}"),
        ("last_event_id_lost", "the server sees Last-Event-ID"),
    ):
        if code not in codes and (code != "last_event_id_lost" or probes.plain.probe):
            report.ok(code, seen)
    if "compression" not in codes:
        report.ok("compression", "none")
    if frames[0].direct is False:
        report.note("direct_send", "the server doesn't send directly here; its log says why")


def is_busy(reading: Reading) -> bool:
    """Return whether the server only said that it is busy, and when to come back."""
    return any(frame.event == "info" and frame.data == "busy" for frame in reading.frames)


def busy(way: Way) -> Finding:
    """Return the finding for a server that is busy."""
    return finding(
        "status",
        "200, but the stream says `busy` and ends",
        "the server is full, stopping or can't reach its log; or its proxy has no server for this",
        way,
        "look at /readyz and /metrics of the server (sse_sink_streams), and raise max_clients",
    )


def no_compressed_head(seconds: float, way: Way) -> Finding:
    """Return the finding for a stream whose answer begins only if it isn't compressed."""
    return finding(
        "compression",
        f"no answer began within {seconds:.0f} s with a browser's Accept-Encoding, but without it",
        "something compresses the stream, and events wait in the compressor until it has enough",
        way,
    )


def no_head(seconds: float, is_certain: bool, way: Way) -> Finding:
    """Return the finding for a stream whose answer doesn't begin, while others do."""
    cause = "something on the way collects the answer, and passes nothing on before it is complete"
    if not is_certain:
        cause += "; or the server sends nothing before its first event"
    return finding("buffering", f"no answer began within {seconds:.0f} s", cause, way)


def hangs(target: Target, seconds: float) -> Finding:
    """Return the finding for a server that takes the request, and doesn't answer."""
    where = f"{target.host}:{target.port}"
    return Finding(
        "unreachable",
        f"{where} takes the request, and doesn't answer within {seconds:.0f} s",
        "the server hangs, all of its threads are taken, or a proxy waits for it",
        "look at /healthz of the server itself; a server for streams needs threads: gunicorn with "
        "--worker-class flask_sse_sink.worker.StreamWorker",
    )


def http1_limit(target: Target, way: Way) -> Finding:
    """Return the finding for a place where browsers get HTTP/1.1 alone."""
    seen = "HTTP/1.1 alone is offered over TLS"
    if target.scheme == "http":
        seen = "without TLS, browsers speak HTTP/1.1"
    cause = "a browser opens six HTTP/1.1 connections to a host, over all tabs: the seventh "
    cause += "stream, and every other request, waits"
    return finding("http1_limit", seen, cause, way)


def no_preflight(seen: str, way: Way) -> Finding:
    """Return the finding for a page that may not send a token."""
    return finding(
        "cors",
        f"OPTIONS, which asks whether the header Authorization may be sent: {seen}",
        "something before the server answers OPTIONS itself, or refuses it; so a page can't send "
        "a token in a header",
        way,
        "let OPTIONS reach the server, or use tickets (docs/access.md)",
    )
