"""The documentation as a site."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.pages import outside, pages, site_name
from support.processes import ROOT

# Building takes two seconds, and much longer where the machine is busy.
pytestmark = pytest.mark.timeout(300)

PAGES = [page for page in pages() if site_name(page)]


def build(folder: Path, into: Path) -> tuple[int, str]:
    """Build the site of a folder as `make docs` does; return the exit code and what it prints."""
    result = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(into)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    return result.returncode, result.stdout + result.stderr


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    code, printed = build(ROOT, folder)
    assert code == 0, printed
    return folder


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """Return a copy of what the site is built from."""
    for path in ("docs", "tools"):
        shutil.copytree(ROOT / path, tmp_path / path)
    for path in ("mkdocs.yml", *outside()):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, tmp_path / path)
    return tmp_path


def html_of(site: Path, page: Path) -> str:
    """Return the HTML of a page of the repository."""
    return (site / address(page) / "index.html").read_text()


def address(page: Path) -> str:
    """Return the path of a page in the site."""
    return site_name(page).removesuffix(".md").removesuffix("index")


def test_every_page_is_built_and_is_reached_from_the_navigation(site: Path) -> None:
    home = (site / "index.html").read_text()
    for path in map(address, PAGES):
        assert (site / path / "index.html").exists(), path
        assert path == "" or f'href="{path}/"' in home, path


def test_pages_show_no_markup(site: Path) -> None:
    """What the site takes for text, though a reader of the repository sees a list or a table."""
    for page in PAGES:
        article = html_of(site, page).partition("<article")[2].partition("</article>")[0]
        text = html.unescape(
            re.sub(r"<pre.*?</pre>|<code>.*?</code>", "", article, flags=re.DOTALL)
        )
        text = re.sub(r"<[^>]*>", "", text)
        assert re.findall(r"^\s*(?:[-*] \S.*|\|.*\||```.*|.*\]\(.*)$", text, re.MULTILINE) == [], (
            page
        )


def test_the_site_loads_nothing_from_other_hosts(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text()
        assert (
            re.findall(r'<(?:script|img|iframe|link rel="stylesheet")[^>]*"https?://', text) == []
        )


def test_files_that_are_no_pages_are_shown_by_the_repository(site: Path) -> None:
    repository = "https://github.com/flask-sse-sink/flask-sse-sink/blob/main"
    assert f'href="{repository}/deploy/nginx.conf"' in html_of(site, ROOT / "docs/proxies.md")
    assert 'href="../many-machines/#upgrading-nodes-one-by-one"' in html_of(
        site, ROOT / "CHANGES.md"
    )


def test_broken_links_and_pages_that_the_navigation_lacks_are_errors(copied: Path) -> None:
    broken = ["nowhere.md", "server.md#no", "../nowhere.md#x", "../deploy/nowhere.conf"]
    with (copied / "docs" / "server.md").open("a") as page:
        page.writelines(f"\n[a link]({link})\n" for link in broken)
    (copied / "docs" / "forgotten.md").write_text("# Forgotten\n")
    code, printed = build(copied, copied / "site")
    assert code != 0
    assert [link for link in (*broken, "forgotten.md") if link not in printed] == []
