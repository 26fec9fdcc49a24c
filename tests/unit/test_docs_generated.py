"""The parts of the documentation that are made from the code."""

from __future__ import annotations

import re

import pytest

import flask_sse_sink
from support.processes import ROOT
from tools.reference import PARTS, fresh, parts, settings

DOCS = ROOT / "docs"


@pytest.mark.parametrize("page", PARTS)
def test_the_generated_parts_are_what_the_code_makes(page: str) -> None:
    text = (DOCS / page).read_text()
    assert text == fresh(page, text), "run `make docs`"


@pytest.mark.parametrize("page", PARTS)
def test_an_older_part_is_replaced_and_the_rest_of_the_page_stays(page: str) -> None:
    text = (DOCS / page).read_text()
    older = re.sub(
        r"(<!-- \w+: written by `make docs` -->\n).*?(<!-- end)", r"\1\2", text, flags=re.DOTALL
    )
    assert older != text
    assert fresh(page, older) == text


@pytest.mark.parametrize("damage", ["", "<!-- end of settings -->\n", "twice"])
def test_a_page_without_its_comments_is_refused(damage: str) -> None:
    page = (DOCS / "pulled-sinks.md").read_text()
    text = page + page if damage == "twice" else damage
    with pytest.raises(ValueError, match="once"):
        parts.replaced(text, "settings", "new")


def test_every_setting_is_described_and_has_a_word_for_its_values() -> None:
    for table in (settings.server_tables(), settings.pulled_table()):
        rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| `")]
        assert len(rows) > 10
        for name, value, *_, described in rows:
            assert value.strip(), name
            assert described.strip(" |"), f"{name} needs Meta(description=…)"


def test_a_cell_cannot_break_its_table() -> None:
    with pytest.raises(ValueError, match=r"other words: two \| three"):
        parts.table(("a", "b"), [("one", "two | three")])


def test_the_page_of_python_names_everything_that_the_package_exports() -> None:
    text = (DOCS / "python.md").read_text()
    assert [n for n in flask_sse_sink.__all__ if f"\n## {n}\n" not in text] == []
    assert not re.search(r":(class|meth|mod|raises)[: ]|(?<!`)``(?!`)", text)
