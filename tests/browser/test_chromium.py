"""A browser's EventSource reads what was published, through a restart as well."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.chromium import chromium
from support.measured import Measured
from support.nginx import behind_nginx
from support.reading import check_reads_all, restart
from support.server import Server

pytestmark = pytest.mark.usefixtures("needs_chromium")


@pytest.mark.usefixtures("both_ways")
def test_a_browser_reads_what_was_published(tmp_path: Path) -> None:
    with Server(tmp_path, {"sink": {"events_stream": {"cors_origins": ["*"]}}}) as server:
        check_reads_all(server, chromium, tmp_path)
    assert "Traceback" not in server.log, server.log


@pytest.mark.usefixtures("both_ways")
@pytest.mark.parametrize("query", ["", "?since=1h"])
def test_a_browser_misses_nothing_through_a_restart(tmp_path: Path, query: str) -> None:
    (tmp_path / "client").mkdir()
    read = restart(chromium, tmp_path / "client", tmp_path, query=query)
    read.check_ids()
    assert read.words == ["closing", "connected"]


@pytest.mark.usefixtures("needs_nginx")
def test_a_browser_behind_nginx_misses_nothing_through_a_restart(
    tmp_path: Path, measured: Measured
) -> None:
    """The page makes its EventSource once: it goes on by itself."""
    (tmp_path / "client").mkdir()
    read = restart(chromium, tmp_path / "client", tmp_path, behind_nginx(tmp_path / "nginx"))
    read.check_ids()
    read.check_words_behind_a_proxy()
    measured("restart behind nginx, chromium: has all again", f"{read.seconds:.1f} s")
