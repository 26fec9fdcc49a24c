"""The pages that the documentation shows do in a browser what it says."""

from __future__ import annotations

from pathlib import Path

import yaml
from playwright.sync_api import Page, expect

from support.chromium import Answer, Pages
from support.processes import ROOT
from support.server import Server
from support.snippets import blocks
from support.terminal import ADDRESS


def html_of(path: str, server: Server) -> str:
    """Return the page that a page of the documentation shows, for this server."""
    found = (block for block in blocks(ROOT / "docs" / path) if block.language == "html")
    return next(found).text.replace(ADDRESS, f"127.0.0.1:{server.port}")


def configuration(path: str, origin: str = "") -> dict[str, object]:
    """Return the sinks that a page of the documentation configures, for pages of this origin."""
    found = (block for block in blocks(ROOT / "docs" / path) if block.file == "config.yaml")
    text = next(found).text.replace("http://localhost:3000", origin)
    return {"sink": yaml.safe_load(text)["sink"]}


def test_a_page_of_an_allowed_origin_lists_events_as_text(tmp_path: Path, page: Page) -> None:
    with Pages() as pages:
        origin = f"http://127.0.0.1:{pages.port}"
        with Server(tmp_path, configuration("browser.md", origin)) as server:
            pages.answers["/page.html"] = lambda: Answer(html_of("browser.md", server))
            page.goto(f"{origin}/page.html")
            server.wait_for_metrics({'sse_sink_clients{sink="events_stream"}': 1})
            server.post({"event_type": "user.login", "data": {"name": "<b>ann</b>"}})
            expect(page.locator("li")).to_have_text('1 user.login {"name":"<b>ann</b>"}')
            assert page.locator("b").count() == 0


def test_the_dashboard_shows_the_newest_figure_of_each_machine(tmp_path: Path, page: Page) -> None:
    with Server(tmp_path, configuration("recipes/dashboard.md")) as server:
        figures = (("web-1", 0.5), ("web-2", 1.25), ("web-1", 0.75))
        server.post(
            [
                {"event_type": "machine.load", "entity_id": machine, "data": {"load": load}}
                for machine, load in figures
            ]
        )
        html = html_of("recipes/dashboard.md", server)
        # The page has the server's own origin, as behind a proxy.
        page.route(
            "**/dashboard", lambda route: route.fulfill(body=html, content_type="text/html")
        )
        page.goto(server.url("/dashboard"))
        expect(page.locator("tr")).to_have_count(2)
        expect(page.locator("tr").first).to_contain_text("web-10.75")
        server.post({"event_type": "machine.load", "entity_id": "web-2", "data": {"load": 2}})
        expect(page.locator("tr").last).to_contain_text("web-22.00")
