"""The module for browsers reads on through restarts, refusals, expiry and offline times."""

from __future__ import annotations

from pathlib import Path

from support.browser import BrowserContext
from support.module_pages import ModulePage
from support.processes import free_port
from support.server import Server


def test_a_page_reads_on_after_its_server_restarted(
    profile: BrowserContext, tmp_path: Path
) -> None:
    settings = {
        "server": {"port": free_port()},
        "sink": {"events_stream": {"replay": True, "retry": 0.1}},
    }
    with Server(tmp_path, settings) as server:
        page = ModulePage.open(profile, server)
        page.wait_for_state("live")
        ids = server.post([{"event_type": "a"}] * 3)
        page.wait_for_ids(ids)
    page.wait_for_state("reconnecting")
    with Server(tmp_path, settings) as server:
        ids += server.post([{"event_type": "a"}] * 3)
        page.wait_for_ids(ids)
        page.close()
