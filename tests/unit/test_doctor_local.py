"""The doctor without a URL: what it says of this machine."""

from __future__ import annotations

import importlib.metadata
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from click.testing import CliRunner, Result
from flask import Flask
from flask.cli import FlaskGroup, ScriptInfo

from flask_sse_sink import SSESink
from flask_sse_sink.cli.main import main
from flask_sse_sink.config import loading
from flask_sse_sink.config.settings import ServerSettings
from flask_sse_sink.doctor import local
from flask_sse_sink.doctor.machine import (
    Disk,
    Limits,
    check_disk,
    check_limits,
    disk_of,
    limits_here,
)
from flask_sse_sink.doctor.report import Report
from flask_sse_sink.log.sqlite import SQLiteLog
from flask_sse_sink.submission import new_event
from support.processes import free_port
from support.redis_server import RedisServer
from support.relay import scripted

DOCUMENT = (Path(__file__).parents[2] / "docs" / "doctor.md").read_text()


@pytest.fixture
def configure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Write a configuration, whose server doesn't run, into the working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(loading.FILE_VARIABLE, raising=False)

    def write(text: str) -> None:
        server = f"server: {{port: {free_port()}, max_clients: 10}}\n"
        (tmp_path / "config.yaml").write_text((server if "server:" not in text else "") + text)

    return write


def run(*words: str) -> Result:
    return CliRunner().invoke(main, ["doctor", *words], env={"SSE_SINK_TOKEN": None})


def report() -> dict[str, Any]:
    done = run("--json")
    found: dict[str, Any] = json.loads(done.stdout)
    assert done.exit_code == (1 if found["findings"] else 0)
    assert found["url"] is None
    return found


def codes(found: dict[str, Any]) -> list[str]:
    return [each["code"] for each in found["findings"]]


def seen(found: dict[str, Any], name: str) -> str:
    return " ".join(each["seen"] for each in found["checks"] if each["name"] == name)


SINK = "sink: {events_stream: {type: sse}}\n"


def test_a_machine_without_a_server_says_where_none_listens(
    configure: Callable[[str], None], tmp_path: Path
) -> None:
    configure(SINK)
    found = report()
    assert codes(found) == ["server"]
    assert "refuses connections" in found["findings"][0]["seen"]
    assert "isn't there yet" in seen(found, "log")
    assert not (tmp_path / "data").exists(), "looking makes nothing"
    assert re.search(r"flask-sse-sink \d.*Python 3.*msgspec.*SQLite", seen(found, "versions"))
    assert "nobody may publish over HTTP yet" in seen(found, "config")
    assert run().stdout.startswith("this machine\n\n  ok       versions")


def test_a_log_that_is_there_is_written_to(configure: Callable[[str], None]) -> None:
    configure(SINK)
    log = SQLiteLog("data/events.db")
    log.append([new_event("a")])
    log.close()
    found = report()
    assert codes(found) == ["server"]
    assert "the newest event has id 1; a commit took" in seen(found, "log")


def test_mistakes_of_the_configuration_are_a_finding(configure: Callable[[str], None]) -> None:
    configure("server: {port: x}\nsink: {a: {type: b}}\n")
    found = report()
    assert codes(found) == ["config"]
    assert "server.port" in found["findings"][0]["seen"]
    assert "sink.a.type" in found["findings"][0]["seen"]


@pytest.mark.parametrize(
    ("prepare", "part"),
    [
        (
            lambda folder: (folder / "x.db").write_bytes(b"text" * 99),
            "is no SQLite database",
        ),
        (lambda folder: (folder / "x.db").mkdir(), "is a folder"),
    ],
    ids=["other_file", "folder"],
)
def test_a_log_that_cant_be_used_is_a_finding(
    configure: Callable[[str], None], tmp_path: Path, prepare: Callable[[Path], object], part: str
) -> None:
    prepare(tmp_path)
    configure(SINK + "database: {url: 'sqlite:///x.db'}\n")
    found = report()
    assert codes(found) == ["log"]
    assert part in found["findings"][0]["seen"]


def test_a_log_in_memory_is_noted(configure: Callable[[str], None]) -> None:
    configure(SINK + "database: {url: 'sqlite:///:memory:'}\n")
    assert "it ends with that" in seen(report(), "log")


def test_a_redis_that_is_away_is_a_finding_without_its_password(
    configure: Callable[[str], None],
) -> None:
    configure(SINK + f"database: {{url: 'redis://:s3cret@127.0.0.1:{free_port()}/0'}}\n")
    found = report()
    assert codes(found) == ["log", "server"]
    assert "Redis can't be reached" in found["findings"][0]["seen"]
    assert "s3cret" not in json.dumps(found)


def test_redis_says_what_survives_a_crash_and_what_is_full(
    configure: Callable[[str], None], redis_server: RedisServer
) -> None:
    configure(SINK + f"database: {{url: '{redis_server.url}'}}\n")
    found = report()
    assert codes(found) == ["server"]
    assert "appendonly is no: a crash of Redis loses" in seen(found, "redis")
    try:
        redis_server.call("CONFIG", "SET", "maxmemory", "1gb")
        redis_server.call("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        found = report()
        assert codes(found) == ["redis", "server"]
        assert "maxmemory-policy is allkeys-lru" in found["findings"][0]["seen"]
    finally:
        redis_server.call("CONFIG", "SET", "maxmemory-policy", "noeviction")
        redis_server.call("CONFIG", "SET", "maxmemory", "0")


@pytest.mark.parametrize(
    ("answer", "part"),
    [
        (b'HTTP/1.1 503 X\r\nContent-Length: 17\r\n\r\n{"detail":"full"}', "status 503: full"),
        (b'HTTP/1.1 503 X\r\nContent-Length: 24\r\n\r\n{"detail":"\\u001b[2Jno"}', "503: ?[2Jno"),
        (b"HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n", "not an answer of this package"),
        (b"+PONG\r\n", "doesn't answer in HTTP/1"),
    ],
    ids=["not_ready", "hostile", "another_server", "another_program"],
)
def test_what_listens_there_may_not_be_well(
    configure: Callable[[str], None], answer: bytes, part: str
) -> None:
    with scripted(answer) as port:
        configure(f"server: {{port: {port}, max_clients: 10}}\n" + SINK)
        found = report()
    assert codes(found) == ["server"]
    assert part in found["findings"][0]["seen"]


def test_a_setting_that_switches_direct_sends_off_is_no_finding(
    configure: Callable[[str], None],
) -> None:
    configure(f"server: {{port: {free_port()}, direct_send: false, max_clients: 10}}\n" + SINK)
    found = report()
    assert codes(found) == ["server"]
    assert "off, as server.direct_send says" in seen(found, "direct_send")


def test_a_gunicorn_that_is_too_old_is_a_finding(
    configure: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(SINK)
    monkeypatch.setattr(importlib.metadata, "version", lambda name: "23.0.0")
    assert "direct_send" in codes(report())


def test_a_flask_app_of_its_own_is_looked_at_without_its_server(
    configure: Callable[[str], None], tmp_path: Path
) -> None:
    configure(SINK)
    app = Flask("x")
    SSESink(app, tmp_path / "config.yaml")
    done = app.test_cli_runner().invoke(
        FlaskGroup(create_app=lambda: app),
        ["sse", "doctor"],
        obj=ScriptInfo(create_app=lambda: app),
    )
    assert done.exit_code == 0, done.output
    assert "name its URL to look at it" in done.stdout
    assert done.stdout.endswith("\nNothing found.\n")


def test_options_for_a_url_need_one(configure: Callable[[str], None]) -> None:
    configure(SINK)
    for words in (("--origin", "https://a.example"), ("--header", "X: y")):
        done = run(*words)
        assert (done.exit_code, done.stdout) == (2, "")
        assert "are for a URL; name one" in done.stderr


# What the system allows.


class Case(NamedTuple):
    """What a system allows, and what is found for two workers of 1000 streams."""

    limits: Limits
    codes: list[str]


@pytest.mark.parametrize(
    "case",
    [
        Case(Limits(65536, 10**12), []),
        Case(Limits(1256, 10**12), []),
        Case(Limits(1024, 10**12), ["descriptors"]),
        Case(Limits(65536, 2224, "pids.max"), []),
        Case(Limits(65536, 2223, "pids.max"), ["threads"]),
        Case(Limits(256, 100, "pids.max"), ["descriptors", "threads"]),
    ],
    ids=["plenty", "just_enough", "few_files", "threads_enough", "few_threads", "both"],
)
def test_limits_that_are_too_low_are_found(case: Case) -> None:
    report = Report()
    check_limits(report, ServerSettings(), case.limits)
    assert [each.code for each in report.findings] == case.codes
    assert all("raise it" in each.cure for each in report.findings)


def test_the_lowest_limit_of_threads_counts(tmp_path: Path) -> None:
    for name, text in (
        ("proc/self/cgroup", "0::/a/b\n"),
        ("proc/sys/kernel/threads-max", "3000\n"),
        ("sys/fs/cgroup/a/pids.max", "2000\n"),
        ("sys/fs/cgroup/a/b/pids.max", "max\n"),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert limits_here(tmp_path).threads <= 2000
    (tmp_path / "sys/fs/cgroup/a/b/pids.max").write_text("100\n")
    assert limits_here(tmp_path)[1:] == (100, "the control group's pids.max")
    assert limits_here(tmp_path / "none").descriptors > 0


def test_a_disk_is_found_by_the_longest_mount(tmp_path: Path) -> None:
    mounts = tmp_path / "proc/self/mounts"
    mounts.parent.mkdir(parents=True)
    base = tmp_path.resolve()
    (base / "a b").mkdir()
    place = str(base / "a b").replace(" ", "\\040")
    mounts.write_text(f"d / ext4 rw 0 0\nserver:/x {place} nfs4 rw 0 0\nbroken\n")
    assert disk_of(tmp_path / "a b" / "none" / "x.db", tmp_path).filesystem == "nfs4"
    assert disk_of(tmp_path / "x.db", tmp_path).filesystem == "ext4"


@pytest.mark.parametrize(
    ("disk", "part"),
    [
        (Disk(2**40, 2**41, "ext4"), ""),
        (Disk(2**27, 2**41, "xfs"), "128 MiB free of 2048.0 GiB"),
        (Disk(2**40, 2**41, "nfs4"), "is on a network's filesystem (nfs4)"),
        (Disk(2**40, 2**41, "fuse.sshfs"), "is on a network's filesystem (fuse.sshfs)"),
    ],
    ids=["plenty", "full", "nfs", "sshfs"],
)
def test_a_disk_that_a_log_cant_be_on_is_found(tmp_path: Path, disk: Disk, part: str) -> None:
    report = Report()
    check_disk(report, tmp_path / "x.db", disk)
    assert [each.code for each in report.findings] == (["disk"] if part else [])
    assert part in report.checks[0].seen


def test_a_full_disk_is_found_where_the_log_is(
    configure: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    configure(SINK)
    usage = type(shutil.disk_usage("/"))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(10**9, 10**9, 0))
    assert codes(report()) == ["disk", "server"]


@pytest.mark.parametrize("code", local.CODES)
def test_every_code_of_this_machine_has_a_row_in_the_documentation(code: str) -> None:
    row = rf"^\| `{code}` \|(?:[^|\n]*\|){{3}}$"
    assert len(re.findall(row, DOCUMENT, re.MULTILINE)) == 1
