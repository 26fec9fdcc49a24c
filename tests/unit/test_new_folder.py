"""What `sse-sink init` makes, and what it leaves alone."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from flask_sse_sink.cli.main import main
from flask_sse_sink.config import loading
from flask_sse_sink.server.new_folder import VARIABLES
from support.processes import ROOT


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in (loading.FILE_VARIABLE, *VARIABLES):
        # What is set first is removed again after the test.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return tmp_path


def init(*words: str) -> Result:
    return CliRunner().invoke(main, ["init", *words])


def test_a_new_folder_gets_a_configuration_and_secrets(folder: Path) -> None:
    result = init()
    assert (result.exit_code, result.stdout) == (0, ""), result.output
    assert "Made config.yaml" in result.stderr and "Made .env" in result.stderr
    variables = dict(line.split("=") for line in (folder / ".env").read_text().splitlines())
    assert set(variables) == set(VARIABLES)
    assert all(len(value) == 43 for value in variables.values())
    assert variables["INGEST_TOKEN"] not in result.output
    assert (folder / ".env").stat().st_mode & 0o777 == 0o600
    loading.load_variables(folder / ".env")
    settings = loading.read(folder / "config.yaml")
    assert settings.ingest.tokens == [variables["INGEST_TOKEN"]]
    assert list(settings.sink) == ["events_stream"]


def test_what_is_there_stays_as_it_is(folder: Path) -> None:
    (folder / "config.yaml").write_text("sink: {sse: }\n")
    (folder / ".env").write_text("INGEST_TOKEN=mine\nOTHER=1")
    assert init().exit_code == 0
    assert (folder / "config.yaml").read_text() == "sink: {sse: }\n"
    added = (folder / ".env").read_text()
    assert re.fullmatch(r"INGEST_TOKEN=mine\nOTHER=1\nACCESS_SECRET=\S{43}\n", added)
    again = init()
    assert again.exit_code == 0 and "are there already" in again.stderr
    assert (folder / ".env").read_text() == added


def test_a_folder_can_be_named_and_is_made(folder: Path) -> None:
    assert init("a/b").exit_code == 0
    assert sorted(path.name for path in (folder / "a" / "b").iterdir()) == [".env", "config.yaml"]
    assert sorted(path.name for path in folder.iterdir()) == ["a"]


def test_a_variable_of_the_environment_is_not_written_down(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INGEST_TOKEN", "from-elsewhere")
    assert init().exit_code == 0
    assert "INGEST_TOKEN" not in (folder / ".env").read_text()


@pytest.mark.parametrize(
    ("name", "content", "words", "message"),
    [
        ("file", b"", ["file/below"], "nothing can be made here (Not a directory)"),
        ("file", b"", ["file"], "is a file"),
        (".env", b"\xff", [], "its .env isn't UTF-8"),
    ],
)
def test_what_hinders_is_told_with_a_cure(
    folder: Path, name: str, content: bytes, words: list[str], message: str
) -> None:
    (folder / name).write_bytes(content)
    result = init(*words)
    assert result.exit_code in (1, 2)
    assert message in result.stderr
    assert "Traceback" not in result.output
    assert (folder / name).read_bytes() == content


def test_the_packages_configuration_is_the_shipped_one() -> None:
    packaged = (ROOT / "flask_sse_sink" / "server" / "config.yaml").read_text()
    assert packaged == (ROOT / "config.yaml").read_text(), "run `make docs`"
