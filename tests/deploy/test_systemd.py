"""The unit for systemd."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from support.processes import ROOT, gunicorn_command
from support.server import Server
from support.waiting import WAIT_SECONDS

UNIT = ROOT / "deploy" / "sse-sink.service"


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """Return the unit, whose program is one that there is."""
    if not shutil.which("systemd-analyze"):
        pytest.skip("systemd-analyze is missing, so that the unit can't be checked")
    unit = tmp_path / UNIT.name
    unit.write_text(
        re.sub("(?<=ExecStart=)/opt/sse-sink/bin/sse-sink", "/bin/true", UNIT.read_text())
    )
    assert "/bin/true serve" in unit.read_text()
    return unit


def analyze(*words: str) -> str:
    command = ["systemd-analyze", "--no-pager", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_systemd_understands_every_line_of_the_unit(installed: Path) -> None:
    assert analyze("verify", str(installed)) == ""


def test_the_unit_may_do_little_else_than_serve(installed: Path) -> None:
    # The threshold is ten times the exposure: below 2 is what systemd calls OK.
    printed = analyze("security", "--offline=true", "--threshold=20", str(installed))
    assert "Overall exposure level" in printed


def test_systemd_is_told_when_the_server_listens(tmp_path: Path) -> None:
    # Type=notify.
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        path = tmp_path / "notify"
        told.bind(str(path))
        told.settimeout(WAIT_SECONDS)

        def command(port: int) -> list[str]:
            return ["env", f"NOTIFY_SOCKET={path}", *gunicorn_command(tmp_path)]

        with Server(tmp_path, {"server": {"workers": 1}}, command=command):
            assert told.recv(1000).startswith(b"READY=1")


def test_the_page_says_where_the_unit_looks_for_its_files() -> None:
    unit, page = UNIT.read_text(), (ROOT / "docs" / "deploy.md").read_text()
    paths = re.findall(r"(/(?:etc|opt|var)/\S*sse-sink)\b", unit)
    assert {"/etc/sse-sink", "/var/lib/sse-sink", "/opt/sse-sink/bin/sse-sink"} <= set(paths)
    for path in re.findall(r"=-?(/(?:etc|var)/\S+)", unit):
        assert path in page
    assert "-m venv /opt/sse-sink\n" in page
