"""Fixtures of tests that drive a browser with Playwright."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest

from support import browser
from support.browser import Browser, BrowserContext, Page


# Not for the whole session: while Playwright runs, asyncio.run() fails in this thread.
@pytest.fixture(scope="module")
def one_browser() -> Iterator[Browser | None]:
    """Run a browser for the tests of a module; None where there is none."""
    if not shutil.which("chromium"):
        yield None
        return
    with browser.chromium_browser() as running:
        yield running


@pytest.fixture
def driven(one_browser: Browser | None, needs_chromium: None) -> Browser:
    """Return the browser, in which a test opens profiles."""
    assert one_browser is not None
    return one_browser


@pytest.fixture
def profile(driven: Browser) -> Iterator[BrowserContext]:
    """Open a profile of the test's own, whose pages are tabs of one browser."""
    with browser.context(driven) as opened:
        yield opened


@pytest.fixture
def page(profile: BrowserContext) -> Page:
    """Open a page in that profile."""
    return profile.new_page()
