"""What the command `sse-sink` does with its options and its configuration, in this process."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from flask_sse_sink.cli.main import main
from flask_sse_sink.config import loading


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name in (loading.FILE_VARIABLE, "A_TOKEN"):
        # What a command sets is removed again after the test.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    return tmp_path


def run(*words: str, env: dict[str, str] | None = None) -> Result:
    return CliRunner().invoke(main, list(words), prog_name="sse-sink", env=env)


@pytest.mark.parametrize(
    ("text", "words", "status", "message"),
    [
        ("server: {port: x}\n", (), 2, "config.yaml: server.port: "),
        ("sink: [", (), 2, "config.yaml: "),
        ("sink: {sse: }\ningest: {tokens: ['${NOT_SET}']}\n", (), 2, "NOT_SET isn't set; set it"),
        ("database: {url: 'sqlite:///config.yaml'}\nsink: {sse: }\n", (), 1, "no SQLite database"),
        ("sink: {sse: }\n", ("--port", "x"), 2, "'x' is not a valid integer"),
        ("sink: {sse: }\n", ("--port", "65536"), 2, "65536 is not in the range"),
        ("sink: {sse: }\n", ("--workers", "0"), 2, "0 is not in the range"),
        ("sink: {sse: }\n", ("--host", "http://a"), 2, "write a host's name or address alone"),
        ("sink: {sse: }\n", ("--config", "none.yaml"), 2, "'none.yaml' does not exist"),
    ],
    ids=["value", "yaml", "variable", "log", "port", "range", "workers", "host", "file"],
)
def test_what_is_wrong_is_told_with_a_cure(
    folder: Path, text: str, words: tuple[str, ...], status: int, message: str
) -> None:
    (folder / "config.yaml").write_text(text)
    done = run("serve", *words)
    assert done.exit_code == status, done.output
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_a_folder_where_nothing_can_be_made_is_told(folder: Path) -> None:
    (folder / "config.yaml").symlink_to(folder / "none" / "config.yaml")
    done = run("serve")
    assert done.exit_code in (1, 2)
    assert "config.yaml" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("sse-sink tail ", ["alerts", "live"]),
        ("sse-sink tail l", ["live"]),
        ("sse-sink pull ", ["stock"]),
        ("sse-sink --config other.yaml tail ", ["another"]),
        ("sse-sink --config wrong.yaml tail ", []),
    ],
)
def test_the_shell_completes_names_of_sinks(folder: Path, line: str, names: list[str]) -> None:
    (folder / "config.yaml").write_text(
        "sink: {live: {type: sse}, alerts: {type: sse}, stock: {type: http_pull}}\n"
        "ingest: {tokens: ['${A_TOKEN}']}\n"
    )
    (folder / ".env").write_text("A_TOKEN=12345678\n")
    (folder / "other.yaml").write_text("sink: {another: {type: sse}}\n")
    (folder / "wrong.yaml").write_text("sink: {another: {type: sse, x: 1}}\n")
    words = line.split(" ")
    variables = {
        "_SSE_SINK_COMPLETE": "bash_complete",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
    }
    done = run(env=variables)
    found = [text.partition(",")[2] for text in done.stdout.splitlines() if text]
    assert sorted(found) == names, done.stderr
    assert done.stderr == ""
