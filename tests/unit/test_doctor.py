"""What the doctor concludes, and what it prints: pure, without a network."""

from __future__ import annotations

import gzip
import json
import re
import socket
import zlib
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from flask_sse_sink.cli.main import main
from flask_sse_sink.doctor import cures, stream_findings
from flask_sse_sink.doctor.examination import Options, examine
from flask_sse_sink.doctor.frames import Decompressor, Frame, FrameReader
from flask_sse_sink.doctor.intermediaries import INTERMEDIARIES, recognised, setting_for
from flask_sse_sink.doctor.reading import ProbeFrame
from flask_sse_sink.doctor.report import Report
from flask_sse_sink.doctor.target import BadUrl, Printable, Target
from flask_sse_sink.doctor.timing import Course, Cut, are_held_back, judge

DOCUMENT = (Path(__file__).parents[2] / "docs" / "doctor.md").read_text()
CODES = [*cures.CURES, "unreachable"]


# Streams that are cut. The first is opened at 0 and has its last byte at 2, the second at 1.


def course(opened_at: float, last_byte_at: float, ended_at: float | None) -> Course:
    return Course(opened_at, last_byte_at, ended_at)


@pytest.mark.parametrize(
    ("chatty", "idle", "kind"),
    [
        (course(0, 2, 12), course(1, 1, 11), "idle"),
        (course(0, 2.3, 12.5), course(1, 1.2, 11.2), "idle"),
        (course(0, 2, 30), course(1, 1, 31), "total"),
        (course(0, 28, 30), course(1, 28, 31), "total"),
        (course(0, 7, 12), course(1, 7, 12), "idle"),
        (course(0, 2, 20), course(1, 1, 20), "unclear"),
        (course(0, 9, None), course(1, 1, 6), "idle"),
        (course(0, 2, None), course(1, 1, 6), "unclear"),
        (course(0, 2, 9.5), course(1, 1, None), "total"),
        (course(0, 2, 5), course(1, 1, None), "unclear"),
    ],
    ids=[
        "silence",
        "silence_roughly",
        "age",
        "age_with_events",
        "silence_after_an_event",
        "both_at_once",
        "silent_one_alone",
        "one_alone",
        "older_one_alone",
        "older_one_long_ago",
    ],
)
def test_two_streams_tell_a_limit_of_age_from_one_of_silence(
    chatty: Course, idle: Course, kind: str
) -> None:
    cut = judge(chatty, idle, now=10)
    assert cut is not None
    assert cut.kind == kind


def test_streams_that_go_on_were_not_cut() -> None:
    assert judge(course(0, 2, None), course(1, 1, None), now=60) is None
    assert judge(course(0, 2, 12), course(1, 1, 11), now=15) == Cut("idle", 10)
    assert judge(course(0, 2, 30), course(1, 1, 31), now=35) == Cut("total", 30)


def probe(*arrivals: float) -> list[ProbeFrame]:
    """Return the frames of a probe, which a server whose clock is far off sent 0.2 s apart."""
    sent = [9000 + n * 0.2 for n in range(len(arrivals))]
    return [
        ProbeFrame(at, n, sent_at, "HTTP/1.1", None, 30, True)
        for n, (at, sent_at) in enumerate(zip(arrivals, sent, strict=True), 1)
    ]


@pytest.mark.parametrize(
    ("arrivals", "held"),
    [
        ([n * 0.2 for n in range(10)], False),
        ([n * 0.2 + 0.15 * (n % 2) for n in range(10)], False),
        ([max(1.0, n * 0.2) for n in range(10)], False),
        ([1.8] * 10, True),
        ([0.8] * 5 + [1.8] * 5, True),
        ([0.4] * 3 + [1.0] * 3 + [1.6] * 3 + [1.8], True),
    ],
    ids=["prompt", "jitter", "one_stall", "all_at_once", "two_groups", "threes"],
)
def test_frames_that_wait_for_later_ones_are_held_back(arrivals: list[float], held: bool) -> None:
    assert are_held_back(probe(*arrivals)) is held


# The URL, and what may be printed.


@pytest.mark.parametrize(
    ("url", "shown", "asked"),
    [
        ("http://a", "http://a/", "/"),
        ("https://a:443/x", "https://a/x", "/x"),
        (
            "http://a:8000/x/?event_type=b.*&ticket=t",
            "http://a:8000/x/?event_type=***&ticket=***",
            "",
        ),
        ("http://[::1]:8000/x", "http://[::1]:8000/x", "/x"),
        ("http://bücher.example/ä", "http://xn--bcher-kva.example/%C3%A4", "/%C3%A4"),
        ("HTTP://A/x#y", "http://a/x", "/x"),
    ],
)
def test_a_url_is_shown_without_its_values(url: str, shown: str, asked: str) -> None:
    target = Target.parse(url)
    assert target.shown == shown
    assert target.request_target() == (asked or "/x/?event_type=b.%2A&ticket=t")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "a",
        "/x",
        "ftp://a",
        "http://",
        "http://a:x",
        "http://a:99999",
        "http://a b",
        "http://[",
        "http://u:pass@a/",
        "http://a/\r\nX: y",
    ],
)
def test_what_is_no_url_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(BadUrl) as raised:
        Target.parse(url)
    assert "pass" not in str(raised.value).replace("password", "")
    assert "write" in str(raised.value)


def test_secrets_follow_a_redirect_on_the_same_origin_alone() -> None:
    target = Target.parse("https://a/x?ticket=t", [("Authorization", "Bearer b")])
    assert target.redirected("/y?z=1").headers == target.headers
    assert target.redirected("/y").shown == "https://a/y"
    for elsewhere in ("https://b/x", "http://a/x", "//b/x", "https://a:8443/x"):
        assert target.redirected(elsewhere).headers == ()
    for nowhere in ("file:///etc/passwd", "javascript:x", "http://["):
        with pytest.raises(BadUrl):
            target.redirected(nowhere)


def test_a_parameter_takes_the_place_of_those_of_its_name() -> None:
    target = Target.parse("http://a/x?event_type=a&event_type=b&since=1h")
    assert target.request_target(event_type="c") == "/x?since=1h&event_type=c"


def test_printable_text_has_no_secrets_and_is_short() -> None:
    printable = Printable(
        [("Authorization", "Bearer s3cret+x"), ("X-Key", "another")],
        [("ticket", "of-ann"), ("event_type", "user.login")],
    )
    text = "Bearer s3cret+x s3cret%2Bx another of-ann user.login\x1b[2J\r\n"
    assert printable(text) == "*** *** *** *** user.login?[2J??"
    assert len(printable("x" * 1000)) == 301


# What stands between.


@pytest.mark.parametrize(
    ("name", "header"),
    [
        ("nginx", ("server", "nginx/1.27.1")),
        ("Apache", ("server", "Apache/2.4.62 (Debian)")),
        ("Cloudflare", ("cf-ray", "8f0a-FRA")),
        ("Heroku's router", ("via", "1.1 vegur")),
        ("Heroku's router", ("via", "2.0 heroku-router")),
        ("an AWS Application Load Balancer", ("set-cookie", "AWSALB=x; Path=/")),
        ("an AWS Application Load Balancer", ("server", "awselb/2.0")),
        ("Amazon CloudFront", ("via", "1.1 0a.cloudfront.net (CloudFront)")),
        ("Amazon API Gateway", ("apigw-requestid", "x")),
        ("Google's load balancer", ("via", "1.1 google")),
        ("Envoy", ("server", "istio-envoy")),
        ("IIS", ("server", "Microsoft-IIS/10.0")),
        ("IIS", ("x-powered-by", "ARR/3.0")),
        ("Traefik", ("server", "traefik")),
        ("Caddy", ("via", "1.1 Caddy")),
        ("Varnish or Fastly", ("x-served-by", "cache-fra-1")),
        ("Azure Front Door or App Service", ("x-azure-ref", "x")),
    ],
)
def test_what_stands_between_is_recognised(name: str, header: tuple[str, str]) -> None:
    assert [each.name for each in recognised([header])] == [name]


def test_gunicorn_alone_is_no_proxy() -> None:
    headers = [
        ("server", "gunicorn"),
        ("content-type", "text/event-stream"),
        ("x-served-by", "me"),
    ]
    assert recognised(headers) == []
    assert setting_for("buffering", []) == ""


def test_a_cure_names_the_settings_of_all_that_stands_between() -> None:
    way = recognised([("server", "nginx"), ("cf-ray", "x")])
    cure = cures.finding("buffering", "", "", way).cure
    assert "nginx: proxy_buffering off;" in cure
    assert "Cloudflare: Response Buffering: off" in cure


def test_every_setting_belongs_to_a_finding() -> None:
    assert {code for each in INTERMEDIARIES for code in each.settings} <= set(CODES)


# Streams as they are read.


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_frames_are_read_in_pieces_of_any_size(size: int) -> None:
    stream = (
        b"\xef\xbb\xbf: hi\r\ndata:a\r\ndata: \xc3\xa4\r\n\r\n"
        b"id: 7\nevent: info\ndata: x\n\n\nid: 8\n\n"
        b"id: \0\rdata\r\rdata: cut"
    )
    reader = FrameReader()
    parts = [stream[n : n + size] for n in range(0, len(stream), size)]
    frames = [frame for part in parts for frame in reader.feed(part)]
    assert frames == [
        Frame("message", "a\nä", ""),
        Frame("info", "x", "7"),
        Frame("message", "", "8"),
    ]


def test_a_stream_that_never_ends_an_event_fills_no_memory() -> None:
    reader = FrameReader()
    for part in (b"data: " + b"x" * 2**20 + b"\n", b"y" * 2**20):
        for _ in range(5):
            assert reader.feed(part) == []
    [frame] = reader.feed(b"\n\n")
    assert len(frame.data) < 3 * 2**20


def test_compressed_streams_are_read_where_python_can() -> None:
    for coding, data in (("gzip", gzip.compress(b"x")), ("deflate", zlib.compress(b"x"))):
        assert Decompressor(coding).feed(data) == b"x"
    for coding in ("br", "zstd", "gzip, br"):
        decompressor = Decompressor(coding)
        assert not decompressor.is_known
        assert decompressor.feed(b"x") == b""
    damaged = Decompressor("gzip")
    assert damaged.feed(b"no gzip") == b""
    assert not damaged.is_known


# Names, limits, and the command.


def test_a_name_that_is_not_known_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "create_connection", fails)
    [finding] = examine(Target.parse("http://no.such.name/"), Options()).findings
    assert finding.code == "unreachable"
    assert "the name no.such.name isn't known" in finding.seen
    assert "getent hosts no.such.name" in finding.cure


def test_a_firewall_that_drops_packets_is_unreachable(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise TimeoutError

    monkeypatch.setattr(socket, "create_connection", fails)
    [finding] = examine(Target.parse("https://a/"), Options()).findings
    assert (finding.code, "open port 443" in finding.cure) == ("unreachable", True)


def test_browsers_have_six_connections_without_tls_except_on_this_machine() -> None:
    finding = stream_findings.http1_limit(Target.parse("http://a/"), ())
    assert finding.code == "http1_limit"
    assert "without TLS" in finding.seen
    for url, is_loopback in (
        ("http://127.0.0.1/", True),
        ("http://[::1]/", True),
        ("http://localhost/", True),
        ("http://10.0.0.1/", False),
        ("http://localhost.example/", False),
    ):
        assert Target.parse(url).is_loopback is is_loopback


def test_a_report_is_one_object_with_findings_and_checks() -> None:
    report = Report("http://a/")
    report.ok("status", "200")
    report.find(cures.finding("cors", "seen", "cause"))
    report.find(cures.finding("cors", "again", "cause"))
    decoded = json.loads(json.dumps(report.as_json()))
    assert [each["code"] for each in decoded["findings"]] == ["cors"]
    assert {"code", "seen", "cause", "cure"} == decoded["findings"][0].keys()
    assert [each["result"] for each in decoded["checks"]] == ["ok", "finding"]
    assert list(report.lines())[-1] == "1 finding"


def run(*words: str) -> Result:
    return CliRunner().invoke(main, ["doctor", *words], env={"SSE_SINK_TOKEN": None})


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (("a",), "write http:// or https://"),
        (("http://u:s3cret@a/",), "--header 'Authorization: Basic"),
        (("http://a/", "--origin", "app.example"), "is not an origin"),
        (("http://a/", "--origin", "*"), "name the one origin"),
        (("http://a/", "--header", "s3cret"), "write e.g. 'X-Tenant: acme'"),
        (("http://a/", "--header", "X: s3cret\r\nY: z"), "write e.g. 'X-Tenant: acme'"),
        (("http://a/", "--token", "s3cret x"), "the token has a space"),
        (("http://a/", "--seconds", "1"), "not in the range"),
        (
            ("http://a/", "--token", "s3cret", "--header", "Authorization: Basic s3cret"),
            "give one",
        ),
    ],
    ids=["url", "password", "origin", "star", "header", "lines", "token", "seconds", "both"],
)
def test_wrong_input_exits_with_2_and_shows_no_secret(words: tuple[str, ...], part: str) -> None:
    done = run(*words)
    assert done.exit_code == 2, done.output
    assert part in " ".join(done.stderr.split())
    assert "s3cret" not in done.output
    assert done.stdout == ""


@pytest.mark.parametrize("code", CODES)
def test_every_code_has_a_row_in_the_documentation(code: str) -> None:
    row = rf"^\| `{code}` \|(?:[^|\n]*\|){{3}}$"
    assert len(re.findall(row, DOCUMENT, re.MULTILINE)) == 1


@pytest.mark.parametrize("limit", [each for way in INTERMEDIARIES for each in way.limits], ids=str)
def test_every_known_limit_has_a_row_in_the_documentation(limit: tuple[str, str, float]) -> None:
    name, kind, seconds, *_ = limit
    kind = {"idle": "silence", "total": "age"}[kind]
    assert re.search(rf"^\| {name} \| {seconds:g} s of {kind} \|", DOCUMENT, re.MULTILINE)
