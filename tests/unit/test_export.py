"""`export`, `import` and `copy`, run as Flask runs them."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import Result
from flask import Flask
from flask.cli import FlaskGroup, ScriptInfo

from flask_sse_sink import create_app
from flask_sse_sink.cli import exported
from flask_sse_sink.extension import runtime_of
from flask_sse_sink.log import EventLog
from flask_sse_sink.submission import new_event

Make = Callable[[str], Flask]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Make servers' apps, each with a log in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    made: list[Flask] = []

    def app(name: str) -> Flask:
        file = tmp_path / name / "config.yaml"
        file.parent.mkdir()
        file.write_text("ingest: {auth: none}\nsink: {events_stream: {type: sse}}\n")
        made.append(create_app(file))
        return made[-1]

    yield app
    for each in made:
        runtime_of(each).close()


def run(app: Flask, *words: str, input: bytes | None = None) -> Result:
    return app.test_cli_runner().invoke(
        FlaskGroup(create_app=lambda: app),
        ["sse", *words],
        input=input,
        obj=ScriptInfo(create_app=lambda: app),
    )


def log_of(app: Flask) -> EventLog:
    return runtime_of(app).log


def fill(app: Flask, count: int) -> None:
    at = "2026-01-02T03:04:05+01:00"
    events = [
        new_event(
            f"a.t{n % 3}",
            {"n": n},
            event_id=f"e{n}",
            entity_id=None if n % 2 else f"ü{n}",
            source=f"s{n % 5}",
            meta={"k": [n]},
            **({"occurred_at": at} if n % 4 == 0 else {}),
        )
        for n in range(count)
    ]
    for begin in range(0, count, 400):
        log_of(app).append(events[begin : begin + 400])


def test_what_is_exported_and_imported_is_the_same_log(make: Make, tmp_path: Path) -> None:
    one, two = make("one"), make("two")
    fill(one, 1300)
    log_of(one).prune(2**62, 200, 0)
    done = run(one, "export", "all.ndjson")
    assert (done.exit_code, done.stdout) == (0, "")
    assert done.stderr == "Exported 1100 events, up to id 1300.\n"
    done = run(two, "import", "all.ndjson")
    assert (done.exit_code, done.stdout) == (0, ""), done.output
    assert done.stderr == "Imported 1100 events, up to id 1300.\n"
    assert log_of(two).records(0, 2000) == log_of(one).records(0, 2000)
    assert run(two, "export").stdout_bytes == (tmp_path / "all.ndjson").read_bytes()
    # What is published next continues the ids, and repeats are found.
    assert log_of(two).append(
        [new_event("x"), new_event("a", event_id="e1299", source="s4")]
    ).ids == [
        1301,
        1300,
    ]


def test_an_import_goes_on_where_it_was_interrupted(make: Make, tmp_path: Path) -> None:
    one, two = make("one"), make("two")
    fill(one, 900)
    whole = run(one, "export").stdout_bytes.splitlines(keepends=True)
    done = run(two, "import", "-", input=b"".join([*whole[:620], b'{"id": 621, "half']))
    assert done.exit_code == 1
    assert "line 621: not JSON" in done.stderr and "start again to go on" in done.stderr
    assert log_of(two).head() == 620
    done = run(two, "import", "-", input=b"".join(whole))
    assert done.stderr == "Imported 280 events, up to id 900; 620 were there already.\n"
    assert log_of(two).records(0, 1000) == log_of(one).records(0, 1000)


def test_an_import_keeps_other_events_from_a_log_that_has_some(make: Make) -> None:
    one, two = make("one"), make("two")
    fill(one, 5)
    run(one, "export", "all.ndjson")
    log_of(two).append([new_event("own")])
    done = run(two, "import", "all.ndjson")
    assert done.exit_code == 1
    assert "name an empty one in database.url, or import with --new-ids" in done.stderr
    done = run(two, "import", "--new-ids", "all.ndjson")
    assert (done.exit_code, done.stderr) == (0, "5 published, 0 failed\n")
    again = run(two, "import", "--new-ids", "all.ndjson")
    assert again.stderr == "5 published (5 were there already), 0 failed\n"
    stored = log_of(two).records(0, 10)
    assert [json.loads(each.envelope)["event_type"] for each in stored][:2] == ["own", "a.t0"]
    assert stored[1].occurred_at == "2026-01-02T03:04:05+01:00"
    assert stored[2].occurred_at == json.loads(log_of(one).records(1, 1)[0].envelope)["created_at"]


def test_an_import_takes_what_a_producer_sends_under_new_ids(make: Make) -> None:
    app = make("one")
    lines = b'{"event_type": "a"}\n[{"event_type": "a"}]\n{"id": 3, "event_type": "a"}\nx\n'
    done = run(app, "import", "--new-ids", "-", input=lines)
    assert done.exit_code == 1
    assert [line.partition(":")[0] for line in done.stderr.splitlines()] == [
        "line 2",
        "line 3",
        "line 4",
        "1 published, 3 failed",
    ]


def changed(line: bytes, **fields: object) -> bytes:
    return json.dumps({**json.loads(line), **fields}).encode()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"id": 3}, "3 comes after 1; a log has no gaps"),
        ({"id": 1}, "1 comes after 1"),
        ({"id": 0}, "Expected a number from 1 on"),
        ({"id": True}, "Expected `int`"),
        ({"created_at": "2026-01-01"}, "created_at: "),
        ({"created_at": "2026-01-01T00:00:00"}, "Expected a time with its time zone"),
        ({"event_type": "a..b"}, "names separated by single dots"),
        ({"event_id": ""}, "event_id: "),
        ({"meta": []}, "meta: "),
        ({"source": "s"}, "source: Expected `object`"),
        ({"source": {"id": 1, "name": "other"}}, "1 is the id of s0, too"),
        ({"source": {"id": 0, "name": "other"}}, "Expected a number from 1 on"),
        ({"more": 1}, "unknown field `more`"),
        ({"occurred_at": "yesterday"}, "occurred_at: "),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else None,
)
def test_a_wrong_line_stops_an_import_and_is_told(
    make: Make, fields: dict[str, object], message: str
) -> None:
    one, two = make("one"), make("two")
    fill(one, 3)
    first, second, third = run(one, "export").stdout_bytes.splitlines()
    done = run(two, "import", "-", input=b"\n".join([first, changed(second, **fields), third]))
    assert done.exit_code == 1
    assert "line 2: " in done.stderr and message in done.stderr, done.stderr
    assert "Traceback" not in done.output
    assert log_of(two).head() == 1


def test_data_keeps_its_digits_and_bad_bytes_are_refused(make: Make) -> None:
    one, two = make("one"), make("two")
    runtime_of(one).publish([new_event("a", {"n": 1})])
    line = run(one, "export").stdout_bytes.replace(b'{"n":1}', b'{"n":1.10e400}')
    assert run(two, "import", "-", input=line).exit_code == 0
    assert b'"data":{"n":1.10e400}' in run(two, "export").stdout_bytes
    three = make("three")
    for bad in (line.replace(b"1.10e400", b'"\xff"'), line.replace(b"1.10e400", b"[" * 3000)):
        done = run(three, "import", "-", input=bad)
        assert done.exit_code == 1 and "line 1: not JSON" in done.stderr, done.stderr
    assert log_of(three).head() == 0


def test_an_export_can_be_narrowed(make: Make) -> None:
    app = make("one")
    fill(app, 700)
    lines = run(app, "export", "--since", "690").stdout_bytes.splitlines()
    assert [exported.read(line)[0].id for line in lines] == list(range(691, 701))
    lines = run(app, "export", "--event-type", "a.t1", "--source", "s1").stdout_bytes.splitlines()
    assert len(lines) == 47
    assert {json.loads(line)["event_type"] for line in lines} == {"a.t1"}


def test_an_export_replaces_no_file_and_leaves_no_half(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make("one")
    fill(app, 3)
    (tmp_path / "mine").write_text("mine")
    done = run(app, "export", "mine")
    assert done.exit_code == 2 and "is there already" in done.stderr
    assert (tmp_path / "mine").read_text() == "mine"
    done = run(app, "export", "none/all")
    assert done.exit_code == 1 and "can't be written (No such file" in done.stderr

    def full(record: object) -> bytes:
        raise OSError(28, "No space left on device")

    # The package has a command of the same name.
    monkeypatch.setattr(sys.modules["flask_sse_sink.cli.export"], "write", full)
    done = run(app, "export", "all")
    assert done.exit_code == 1 and "No space left on device" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine", "one"]


def test_an_import_needs_its_file(make: Make) -> None:
    app = make("one")
    done = run(app, "import", "none.ndjson")
    assert done.exit_code == 2 and "'none.ndjson' does not exist" in done.stderr


@pytest.mark.parametrize(
    ("source", "target", "message"),
    [
        ("sqlite:///none.db", "sqlite:///b.db", "there is no log; mend the URL"),
        ("sqlite:///none/none.db", "sqlite:///b.db", "there is no log; mend the URL"),
        ("sqlite:///one/data/events.db", "sqlite:///one/data/events.db", "name another"),
        ("sqlite:///one/data/events.db", "sqlite:///one/../one/data/events.db", "name another"),
        ("sqlite:///link.db", "sqlite:///one/data/events.db", "name another"),
        ("redis://localhost", "redis://127.0.0.1:6379/0", "name another"),
    ],
    ids=["none", "folder", "same", "dots", "link", "redis"],
)
def test_copy_refuses_what_is_no_copy(
    make: Make, tmp_path: Path, source: str, target: str, message: str
) -> None:
    app = make("one")
    fill(app, 3)
    (tmp_path / "link.db").symlink_to(tmp_path / "one" / "data" / "events.db")
    done = run(app, "copy", "--from", source, "--to", target)
    assert done.exit_code == 2
    assert message in done.stderr
    assert not (tmp_path / "none.db").exists() and not (tmp_path / "b.db").exists()
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    "words",
    [("publish", "a"), ("export",), ("import", "-"), ("events",), ("demo", "-n", "1")],
    ids=lambda words: words[0],
)
def test_a_log_in_the_servers_memory_is_out_of_reach(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    file = tmp_path / "config.yaml"
    file.write_text("database: {url: 'sqlite:///:memory:'}\ningest: {auth: none}\nsink: {sse: }\n")
    app = create_app(file)
    done = run(app, *words)
    runtime_of(app).close()
    assert done.exit_code == 1
    assert "in the memory of the server's process" in done.stderr
    assert "Traceback" not in done.output
