"""A browser that tests drive with Playwright: it opens pages, clicks, and runs scripts in them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from support.waiting import WAIT_SECONDS

#: Debian's browser. The one that Playwright brings can't be downloaded everywhere.
PROGRAM = "/usr/bin/chromium"

# nginx has a certificate of its own making; the rest keeps the browser from calling home.
_ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--ignore-certificate-errors",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

__all__ = ["Browser", "BrowserContext", "Page", "chromium_browser", "context"]


@contextlib.contextmanager
def chromium_browser() -> Iterator[Browser]:
    """Run a browser without a window."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=PROGRAM, args=[*_ARGUMENTS])
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def context(browser: Browser, **options: Any) -> Iterator[BrowserContext]:
    """Open a profile of its own, with ``browser.new_context``'s options; its pages are its tabs.

    Fails at the end if a page raised an error.
    """
    errors: list[str] = []
    opened = browser.new_context(**{"ignore_https_errors": True, **options})
    opened.set_default_timeout(WAIT_SECONDS * 1000)
    opened.on("weberror", lambda error: errors.append(str(error.error)))
    try:
        yield opened
    finally:
        opened.close()
    assert not errors
