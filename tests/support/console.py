"""The console in a browser that a test drives."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import ConsoleMessage, Dialog, Response

from support.browser import Browser, Page, context


@contextlib.contextmanager
def console_page(browser: Browser, **options: Any) -> Iterator[Page]:
    """Open a page in a profile of its own.

    Fails at the end if the page raised an error, opened a dialog of the browser, did what its
    policy forbids, asked for what there isn't, or asked another host.
    """
    problems: list[str] = []
    hosts: set[str] = set()

    def on_line(line: ConsoleMessage) -> None:
        if "Content Security Policy" in line.text or "Trusted" in line.text:
            problems.append(line.text)

    def on_dialog(dialog: Dialog) -> None:
        problems.append(dialog.message)
        dialog.dismiss()

    def on_response(response: Response) -> None:
        if response.status == 404:
            problems.append(f"404: {response.url}")

    with context(browser, **{"viewport": {"width": 1280, "height": 800}, **options}) as opened:
        page = opened.new_page()
        page.on("console", on_line)
        page.on("dialog", on_dialog)
        page.on("response", on_response)
        page.on("request", lambda request: hosts.add(urlsplit(request.url).hostname or ""))
        yield page
    assert not problems
    assert hosts <= {"127.0.0.1"}


def violations(page: Page) -> list[str]:
    """Return what axe-core finds wrong in a page: the rule, and where."""
    found = Axe().run(page).response["violations"]
    return [
        f"{each['id']}: {', '.join(str(node['target']) for node in each['nodes'])}"
        for each in found
    ]
