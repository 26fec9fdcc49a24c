"""Links between the pages of the documentation."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.pages import anchors, links, name, pages, site_name
from support.processes import ROOT

PAGES = pages()


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_to_a_file_and_a_heading_that_exist(page: Path) -> None:
    broken = []
    for link in links(page):
        if link.startswith(("https://", "http://", "mailto:")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        inside = target.is_relative_to(ROOT) and target.exists()
        if not inside or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


def test_a_reader_of_the_readme_can_reach_every_page() -> None:
    reached, to_read = set[Path](), [ROOT / "README.md"]
    while to_read:
        page = to_read.pop()
        if page in reached:
            continue
        reached.add(page)
        for link in links(page):
            target = (page.parent / link.partition("#")[0]).resolve()
            if target.suffix == ".md" and "://" not in link:
                to_read.append(target)
    assert {name(page) for page in PAGES} - {name(page) for page in reached} == set()


def test_the_site_s_navigation_has_every_page() -> None:
    navigation = (ROOT / "mkdocs.yml").read_text().partition("\nnav:\n")[2]
    missing = [page for page in map(site_name, PAGES) if f": {page}\n" not in navigation]
    assert [page for page in missing if page] == [], "add it to nav in mkdocs.yml"
