"""Every block of code of the documentation does what the page says."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from flask_sse_sink.config import loading, settings
from support.pages import name, pages
from support.processes import ROOT
from support.snippets import Block, blocks, commands, shows
from support.terminal import SECRETS, Terminal

# A page has many commands, each of which starts Python.
pytestmark = pytest.mark.timeout(300)

PAGES = [page for page in pages() if list(blocks(page))]
RUN = {"console", "sh", "python"}
CHECKED = {"yaml", "json", "js", "html"}
SECTIONS = set(settings.Settings.__struct_fields__)


def of_language(page: Path, *languages: str) -> list[Block]:
    """Return the blocks in these languages that are to be run or checked."""
    return [each for each in blocks(page) if each.language in languages and not each.not_run]


def having(*languages: str) -> list[Path]:
    """Return the pages that have such blocks."""
    return [page for page in PAGES if of_language(page, *languages)]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_block_is_run_or_checked_or_says_why_not(page: Path) -> None:
    for block in blocks(page):
        known = block.language in RUN | CHECKED | {"text"}
        assert known or block.not_run or block.file, f"{name(page)}:{block.line}"


@pytest.mark.parametrize("page", having("console", "sh"), ids=name)
def test_the_commands_print_what_the_page_shows(page: Path, tmp_path: Path) -> None:
    with Terminal(tmp_path, list(blocks(page))) as terminal:
        terminal.run()


@pytest.mark.parametrize("page", having("python"), ids=name)
def test_the_python_runs(page: Path, tmp_path: Path) -> None:
    """Run what isn't a file of its own, with the page's module in ``around`` if there is one."""
    fragments = [block.text for block in of_language(page, "python") if not block.file]
    for block in of_language(page, "python"):
        compile(block.text, f"{name(page)}:{block.line}", "exec")
    around = Path(__file__).parent / "around" / f"{page.stem}.py"
    if fragments:
        if around.exists():
            fragments = [around.read_text(), *fragments, "check(globals())\n"]
        script = tmp_path / "page.py"
        script.write_text("\n\n".join(fragments))
        result = subprocess.run(
            [sys.executable, "-W", "error", str(script)],
            cwd=tmp_path,
            env={**os.environ, **SECRETS, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("page", having("yaml"), ids=name)
def test_the_configuration_is_accepted(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = of_language(page, "yaml")
    loaded = [yaml.safe_load(block.text) for block in found if "\n---" not in block.text]
    sinks = {k: v for each in loaded for k, v in (each.get("sink") or {}).items()}
    for block in found:
        for variable in re.findall(r"\$\{(\w+)\}", block.text):
            monkeypatch.setenv(variable, f"a-value-of-{variable}-with-32-bytes-and-more")
        documents = list(yaml.safe_load_all(block.text))
        assert documents, f"{name(page)}:{block.line}"
        for document in documents:
            if isinstance(document, dict) and document.keys() <= SECTIONS:
                whole = {"sink": sinks or {"sse": None}, **document}
                loading.from_mapping(whole, f"{name(page)}:{block.line}", ROOT)


@pytest.mark.parametrize("page", having("json"), ids=name)
def test_the_json_is_right(page: Path) -> None:
    for block in of_language(page, "json"):
        assert json.loads(block.text), f"{name(page)}:{block.line}"


@pytest.mark.parametrize("page", having("js", "html"), ids=name)
def test_the_javascript_is_right(page: Path, tmp_path: Path) -> None:
    if not shutil.which("node"):
        assert os.environ.get("CI") != "true", "node is missing"
        pytest.skip("node is missing, so that the JavaScript can't be checked")
    for block in of_language(page, "js", "html"):
        scripts = [block.text]
        if block.language == "html":
            scripts = re.findall(r"<script[^>]*>(.*?)</script>", block.text, re.DOTALL)
            assert scripts, f"{name(page)}:{block.line}"
        for script in scripts:
            (tmp_path / "block.mjs").write_text(script)
            result = subprocess.run(
                ["node", "--check", tmp_path / "block.mjs"],
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert result.returncode == 0, f"{name(page)}:{block.line}\n{result.stderr}"


def page_with(folder: Path, text: str) -> Path:
    page = folder / "page.md"
    page.write_text(text)
    return page


def test_a_command_that_prints_something_else_fails(tmp_path: Path) -> None:
    page = page_with(tmp_path, "```console\n$ echo one\ntwo\n```\n")
    folder = tmp_path / "clone"
    folder.mkdir()
    with Terminal(folder, list(blocks(page))) as terminal, pytest.raises(AssertionError):
        terminal.run()


def test_a_command_that_fails_is_noticed(tmp_path: Path) -> None:
    page = page_with(tmp_path, "```console\n$ false\n```\n")
    folder = tmp_path / "clone"
    folder.mkdir()
    with Terminal(folder, list(blocks(page))) as terminal, pytest.raises(AssertionError):
        terminal.run()


def test_a_comment_that_the_tests_don_t_know_is_refused(tmp_path: Path) -> None:
    page = page_with(tmp_path, "<!-- skip -->\n```console\n$ true\n```\n")
    with pytest.raises(ValueError, match="no comment that the tests know"):
        list(blocks(page))


def test_commands_go_on_after_a_backslash_and_within_quotes(tmp_path: Path) -> None:
    text = "```console\n$ one \\\n    two '{\n  }'\nprinted\n$ three\n```\n"
    found = commands(next(blocks(page_with(tmp_path, text))))
    assert [(each.text, each.printed) for each in found] == [
        ("one \\\n    two '{\n  }'", "printed"),
        ("three", ""),
    ]


@pytest.mark.parametrize(
    ("expected", "printed", "is_shown"),
    [
        ("id: 1\ndata: …", "id: 1\ndata: {}", True),
        ("id: 1\ndata: …", "id: 2\ndata: {}", False),
        ("a.c", "abc", False),
        ("at 2026-11-24T02:18:35.695214+00:00", "at 2027-01-01T00:00:00+00:00", True),
    ],
)
def test_what_is_printed_is_compared(expected: str, printed: str, is_shown: bool) -> None:
    assert shows(expected, printed) is is_shown


def test_a_command_in_the_background_that_ends_is_noticed(tmp_path: Path) -> None:
    page = page_with(
        tmp_path,
        "<!-- in the background -->\n```console\n$ true\n```\n\n```console\n$ sleep 0.5\n```\n",
    )
    folder = tmp_path / "clone"
    folder.mkdir()
    with Terminal(folder, list(blocks(page))) as terminal, pytest.raises(AssertionError):
        terminal.run()
