"""The doctor, and each fault that it names: behind a real nginx, and before servers of others.

Most of an examination waits, so that all of them are made at the same time.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from flask_sse_sink.doctor.examination import Options, examine
from flask_sse_sink.doctor.report import Report
from flask_sse_sink.doctor.target import Target
from support.faulty_nginx import ANSWERS, FAULTS, faulty_nginx
from support.processes import ROOT, free_port
from support.relay import Faults, relay, scripted
from support.server import Server

ORIGIN = "https://app.example"
TOKEN = "token-of-ann"
BEARER = ("Authorization", f"Bearer {TOKEN}")
SETTINGS = {
    "sink": {
        "events_stream": {"type": "sse", "cors_origins": [ORIGIN], "replay": True},
        "closed": {"type": "sse", "access": "token"},
        "slow": {"type": "sse", "heartbeat_timeout": 90, "cors_origins": ["*"]},
    },
    "access": {"tokens": [{"token": TOKEN, "name": "ann", "subscribe": [{"sink": "closed"}]}]},
}
# Enough for the probes, and to see what is cut soon.
SECONDS = 10.0

RELAYS = {
    "old": Faults(cut_at=3.0),
    "young": Faults(cut_at=1.0),
    "silent": Faults(cut_silent=1.0),
    "collecting": Faults(collect=900),
}
_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
_EVENT = b"data: x\n\n"
_HOSTILE = json.dumps({"detail": f"\x1b[31mno {TOKEN}\r\n"}).encode()
# What servers of another make answer, and then send again and again.
SCRIPTS = {
    "another_make": (_HEAD + b"\r\n" + _EVENT, _EVENT),
    "http10_answer": (_HEAD.replace(b"1.1", b"1.0") + b"\r\n", _EVENT),
    "cache_hit": (_HEAD + b"X-Cache: HIT from squid\r\n\r\n", _EVENT),
    "aged": (_HEAD + b"Age: 120\r\n\r\n", _EVENT),
    "brotli": (_HEAD + b"Content-Encoding: br\r\n\r\n", b"\x0b\x02\x80"),
    "latin": (_HEAD.replace(b"stream", b"stream; charset=latin-1") + b"\r\n", _EVENT),
    "busy": (_HEAD + b"\r\nevent: info\ndata: busy\nretry: 1000\n\n", b""),
    "closing": (_HEAD + b"\r\nevent: info\ndata: closing\n\n", b""),
    "limited": (b"HTTP/1.1 429 Slow down\r\nContent-Length: 0\r\n\r\n", b""),
    "firewall": (b"HTTP/1.1 403 No\r\nServer: cloudflare\r\nContent-Length: 0\r\n\r\n", b""),
    "hostile": (
        b"HTTP/1.1 401 No\r\nContent-Length: %d\r\n\r\n%b" % (len(_HOSTILE), _HOSTILE),
        b"",
    ),
    "echo": (
        _HEAD.replace(b"text/event-stream", b"text/html\x1b[31m " + TOKEN.encode())
        + b"Content-Length: 0\r\nCache-Control: public; "
        + TOKEN.encode()
        + b"\r\n\r\n",
        b"",
    ),
    "no_http": (b"SSH-2.0-OpenSSH_9.2\r\n", b""),
    "empty": (b"", b""),
    "dripping": (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
}


class Reports:
    """What was found at each place, and what the command printed there."""

    def __init__(self) -> None:
        self.found: dict[str, Report] = {}
        self.printed: dict[str, subprocess.CompletedProcess[str]] = {}

    def codes(self, name: str) -> list[str]:
        """Return the codes of the findings at a place."""
        return [finding.code for finding in self.found[name].findings]

    def text(self, name: str) -> str:
        """Return the report on a place, as people read it."""
        return "\n".join(self.found[name].lines())


class _Examinations:
    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self._pool = pool
        self._futures: dict[str, Any] = {}
        self._commands: dict[str, Any] = {}

    def begin(self, name: str, url: str, *headers: tuple[str, str], origin: str = ORIGIN) -> None:
        options = Options(origin, SECONDS)
        self._futures[name] = self._pool.submit(examine, Target.parse(url, headers), options)

    def begin_command(self, name: str, config: Path, *words: str) -> None:
        program = [sys.executable, "-m", "flask_sse_sink", "--config", str(config), "doctor"]
        self._commands[name] = self._pool.submit(
            subprocess.run,
            [*program, "--seconds", "10", *words],
            cwd=ROOT,
            env={**os.environ, "SSE_SINK_TOKEN": TOKEN},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    def reports(self) -> Reports:
        reports = Reports()
        reports.found = {name: future.result(100) for name, future in self._futures.items()}
        reports.printed = {name: future.result(100) for name, future in self._commands.items()}
        return reports


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory, needs_nginx: None) -> Iterator[Reports]:
    folder = tmp_path_factory.mktemp("doctor")
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(Server(folder, SETTINGS))
        examinations = _Examinations(stack.enter_context(ThreadPoolExecutor(60)))
        (folder / "nginx").mkdir()
        at = stack.enter_context(faulty_nginx(folder / "nginx", server.port))
        for name in (*FAULTS, *ANSWERS):
            examinations.begin(name, f"{at.plain}/{name}/", *[BEARER] * (name == "no_token"))
        examinations.begin("direct", server.url())
        examinations.begin("other_origin", server.url(), origin="https://other.example")
        examinations.begin("no_page", server.url("/none/"))
        examinations.begin("closed", server.url("/closed/"))
        examinations.begin(
            "wrong_token", server.url("/closed/"), ("Authorization", "Bearer wrong-one")
        )
        examinations.begin("token", server.url("/closed/"), BEARER, origin="")
        examinations.begin("token_of_a_page", server.url("/closed/"), BEARER)
        examinations.begin("tls_on_plain", at.plain.replace("http:", "https:"))
        examinations.begin("tls_on_server", server.url().replace("http:", "https:"))
        examinations.begin("refused", f"http://127.0.0.1:{free_port()}/")
        untrusted = examine(Target.parse(f"{at.tls}/sound/"), Options("", SECONDS))
        trusting = stack.enter_context(pytest.MonkeyPatch.context())
        trusting.setenv("SSL_CERT_FILE", str(at.certificate))
        examinations.begin("tls", f"{at.tls}/sound/")
        examinations.begin("http2", f"{at.http2}/sound/")
        for name, faults in RELAYS.items():
            port = stack.enter_context(relay(server.port, faults))
            examinations.begin(name, f"http://127.0.0.1:{port}/events_stream/")
        for name, (answer, repeated) in SCRIPTS.items():
            port = stack.enter_context(scripted(answer, repeated))
            headers = [BEARER] * (name in ("hostile", "echo"))
            examinations.begin(name, f"http://127.0.0.1:{port}/", *headers, origin="")
        config = server.config
        examinations.begin_command("healthy", config, "--json", server.url("/closed/"))
        examinations.begin_command("found", config, f"{at.plain}/no_token/?ticket=a-ticket")
        examinations.begin_command("local", config, "--json")
        reports = examinations.reports()
        reports.found["untrusted"] = untrusted
    yield reports


@pytest.mark.parametrize(
    ("name", "codes"),
    [
        ("direct", []),
        ("sound", []),
        ("buffering", ["buffering"]),
        ("gzip", ["compression"]),
        ("slow_gzip", ["compression"]),
        ("idle", ["idle_timeout"]),
        ("long_heartbeat", ["idle_timeout"]),
        ("http10", ["http10"]),
        ("stripped", ["last_event_id_lost"]),
        ("no_header", ["caching"]),
        ("expires", ["caching"]),
        ("html", ["content_type"]),
        ("page", ["content_type"]),
        ("doubled_cors", ["cors"]),
        ("no_token", ["auth"]),
        ("password", ["auth"]),
        ("moved", ["redirect"]),
        ("loop", ["redirect"]),
        ("login", ["redirect", "unreachable"]),
        ("down", ["status"]),
        ("gone", ["status"]),
        ("no_page", ["status"]),
        ("other_origin", ["cors"]),
        ("closed", ["auth"]),
        ("wrong_token", ["auth"]),
        ("token", []),
        ("token_of_a_page", ["cors"]),
        ("tls", ["http1_limit"]),
        ("http2", []),
        ("untrusted", ["unreachable"]),
        ("tls_on_plain", ["unreachable"]),
        ("refused", ["unreachable"]),
        ("tls_on_server", ["unreachable"]),
        ("old", ["total_timeout"]),
        ("young", ["total_timeout"]),
        ("silent", ["idle_timeout"]),
        ("collecting", ["buffering"]),
        ("another_make", []),
        ("http10_answer", ["http10"]),
        ("cache_hit", ["caching"]),
        ("aged", ["caching"]),
        ("brotli", ["compression"]),
        ("latin", ["content_type"]),
        ("busy", ["status"]),
        ("closing", []),
        ("limited", ["status"]),
        ("firewall", ["auth"]),
        ("hostile", ["auth"]),
        ("echo", ["content_type", "caching"]),
        ("no_http", ["unreachable"]),
        ("empty", ["unreachable"]),
        ("dripping", ["unreachable"]),
    ],
)
def test_a_fault_is_named_and_nothing_else(reports: Reports, name: str, codes: list[str]) -> None:
    assert reports.codes(name) == codes, reports.text(name)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        ("buffering", "nginx: proxy_buffering off;"),
        ("gzip", "nginx: gzip off;"),
        ("slow_gzip", "no answer began within 3 s with a browser's Accept-Encoding"),
        ("idle", "s of silence; the server sends a heartbeat after 30 s"),
        ("idle", "nginx: proxy_read_timeout 90s;"),
        ("long_heartbeat", "set heartbeat_timeout below 60 s; nginx: proxy_read_timeout"),
        ("http10", "nginx: proxy_http_version 1.1;"),
        ("stripped", "proxy_set_header Last-Event-ID"),
        ("doubled_cors", "https://app.example, *"),
        ("no_token", "the header Authorization doesn't reach the server"),
        ("password", "a proxy asks for a password (basic)"),
        ("moved", "301 to http"),
        ("loop", "perhaps without end"),
        ("login", "302 to https://127.0.0.1:1/sign-in?next=***"),
        ("down", "status 502"),
        ("other_origin", 'set cors_origins: ["https://other.example"]'),
        ("wrong_token", "the token is refused (malformed)"),
        ("closed", "the sink needs a token"),
        ("http2", "HTTP/2 is offered"),
        ("untrusted", "SSL_CERT_FILE"),
        ("tls_on_plain", "doesn't speak TLS"),
        ("tls_on_server", "doesn't speak TLS (no answer within 5 s)"),
        ("refused", "refuses connections"),
        ("another_make", "it is none of this package"),
        ("closing", "the server itself ended a stream: closing"),
        ("no_http", "doesn't answer in HTTP/1"),
    ],
)
def test_what_is_said_of_a_fault_tells_its_cause_or_cure(
    reports: Reports, name: str, part: str
) -> None:
    assert part in reports.text(name), reports.text(name)


def test_no_report_holds_a_token_or_a_control_character(reports: Reports) -> None:
    for name in reports.found:
        text = reports.text(name) + json.dumps(reports.found[name].as_json(), ensure_ascii=False)
        assert TOKEN not in text, name
        assert "wrong-one" not in text, name
        assert "\x1b" not in text, name
    assert "?[31mno ***" in reports.text("hostile")
    assert "text/html?[31m ***" in reports.text("echo")


def test_the_command_prints_one_object_and_exits_with_0_where_nothing_is_found(
    reports: Reports,
) -> None:
    done = reports.printed["healthy"]
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["findings"] == []
    assert report["heartbeat_timeout"] == 30
    assert {"name": "status", "result": "ok", "seen": "200"} in report["checks"]
    assert all(line.startswith("# ") for line in done.stderr.splitlines())


def test_a_machine_whose_server_runs_is_healthy(reports: Reports) -> None:
    done = reports.printed["local"]
    assert done.returncode == 0, done.stdout + done.stderr
    checks = {each["name"]: each for each in json.loads(done.stdout)["checks"]}
    assert checks["server"]["seen"].endswith(" is ready")
    assert checks["direct_send"]["seen"] == "the server sends directly"
    assert checks["log"]["result"] in ("ok", "note")


def test_the_command_exits_with_1_where_something_is_found(reports: Reports) -> None:
    done = reports.printed["found"]
    assert done.returncode == 1, done.stderr
    assert "\nauth\n  seen   status 401" in done.stdout
    assert TOKEN not in done.stdout + done.stderr
    assert "a-ticket" not in done.stdout + done.stderr
