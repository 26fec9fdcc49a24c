"""Commands that talk to a server of their own, or to one that refuses."""

from __future__ import annotations

import errno
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from flask_sse_sink.cli import remote
from flask_sse_sink.cli.main import main
from support.certificate import make_certificate
from support.processes import environment, free_port
from support.scripted import Answer, Asked, ScriptedServer
from support.server import Server
from support.waiting import WAIT_SECONDS, wait_until

TOKEN = "a-token-that-publishes"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    settings = {
        "ingest": {"tokens": [TOKEN], "max_body": "64KiB", "max_batch": 50},
        "access": {
            "secret": "a-secret-of-the-tests-with-32-bytes-and-more",
            "tokens": [
                {
                    "token": "token-of-ann",
                    "name": "ann",
                    "subscribe": [{"sink": "closed"}],
                    "publish": [{"event_type": "ann.*"}],
                }
            ],
        },
        "sink": {
            "kept": {"type": "sse", "replay": True},
            "closed": {"type": "sse", "access": "token", "replay": True},
            "pulled": {"type": "http_pull"},
        },
    }
    with Server(tmp_path_factory.mktemp("server"), settings) as running:
        yield running


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run where there is no configuration: these commands need none."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SSE_SINK_CONFIG", raising=False)


def run(*words: str, input: str | bytes | None = None, token: str | None = None) -> Result:
    environment = {"SSE_SINK_TOKEN": token}
    return CliRunner().invoke(main, list(words), input=input, env=environment)


def url(server: Server, path: str = "") -> str:
    return server.url(path)


def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "_FIRST_DELAY_SECONDS", 0.01)
    monkeypatch.setattr(remote, "_LONGEST_DELAY_SECONDS", 0.01)


def test_an_event_is_published_to_a_server(server: Server) -> None:
    words = ("publish", "user.login", "--url", url(server), "--event-id", "once")
    first = run(*words, "--data", '{"n": 1.50}', token=TOKEN)
    assert (first.exit_code, first.stderr) == (0, ""), first.output
    assert run(*words, "--data", "{}", token=TOKEN).stdout == first.stdout
    narrow = ("--since", "earliest", "--event-type", "user.login", "-n", "1")
    stored = run("tail", url(server, "/kept/"), *narrow, "--json")
    assert json.loads(stored.stdout)["event_id"] == "once"
    assert '"data":{"n":1.50}' in stored.stdout
    file = Path("data.json")
    file.write_text('{"from": "file"}')
    for data, text in (("@data.json", None), ("-", '{"from": "pipe"}')):
        done = run("publish", "a", "--url", url(server), "--data", data, input=text, token=TOKEN)
        assert done.exit_code == 0, done.output


@pytest.mark.parametrize(
    ("words", "token", "status", "message"),
    [
        (("publish", "a"), None, 1, "put a token that is valid into SSE_SINK_TOKEN"),
        (("publish", "a"), "a-wrong-token", 1, "answered 401"),
        (("publish", "a"), "token-of-ann", 1, "doesn't grant to publish event_type=a"),
        (("publish", "a..b"), TOKEN, 2, "names separated by single dots"),
        (("publish", "a", "--data", "@none"), TOKEN, 2, "none can't be read (No such file"),
        (("publish", "a", "--data", "{"), TOKEN, 2, "write e.g."),
        (("publish", "--data", "1"), TOKEN, 2, "name the event's TYPE"),
    ],
    ids=["no-token", "wrong-token", "no-grant", "type", "file", "json", "no-type"],
)
def test_what_cannot_be_published_is_told_with_a_cure(
    server: Server, words: tuple[str, ...], token: str | None, status: int, message: str
) -> None:
    done = run(*words, "--url", url(server), token=token)
    assert done.exit_code == status, done.output
    assert message in done.stderr
    assert done.stdout == ""
    assert "Traceback" not in done.output
    assert token is None or token not in done.output


def test_lines_are_published_but_for_those_that_fail(server: Server) -> None:
    before = len(server.stored())
    good = "\n".join(f'{{"event_type": "n.{n % 7}", "event_id": "line-{n}"}}' for n in range(170))
    bad = b'\n{"event_type": \n{"event_type": "a..b"}\n[]\n\xff\xfe\n\x00\n'
    large = json.dumps({"event_type": "large", "data": "x" * 70_000}).encode()
    last = b'\n{"event_type": "last", "source": "shop"}'
    done = run(
        "publish", "--url", url(server), input=good.encode() + bad + large + last, token=TOKEN
    )
    assert done.exit_code == 1
    failed = [line.partition(":")[0] for line in done.stderr.splitlines()[:-1]]
    assert failed == [f"line {n}" for n in (171, 172, 173, 174, 175, 176)], done.stderr
    assert done.stderr.splitlines()[-1] == "171 published, 6 failed"
    assert len(server.stored()) == before + 171
    again = run("publish", "--url", url(server), input=good, token=TOKEN)
    assert (again.exit_code, again.stdout) == (0, "")
    assert again.stderr == "170 published (170 were there already), 0 failed\n"


def test_a_grant_lets_through_its_part_of_the_lines(server: Server) -> None:
    text = "\n".join(f'{{"event_type": "{name}"}}' for name in ("ann.a", "b", "ann.c"))
    done = run("publish", "--url", url(server), input=text, token="token-of-ann")
    assert done.exit_code == 1
    assert done.stderr.splitlines()[-1] == "2 published, 1 failed"
    assert done.stderr.startswith("line 2: ")


def test_a_line_is_published_while_the_pipe_stays_open(server: Server, tmp_path: Path) -> None:
    before = len(server.stored())

    def is_stored(count: int) -> bool:
        return len(server.stored()) == count

    publishing = subprocess.Popen(
        [sys.executable, "-m", "flask_sse_sink", "publish", "--url", url(server)],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(tmp_path / "none", SSE_SINK_TOKEN=TOKEN),
        cwd=tmp_path,
    )
    with publishing:
        assert publishing.stdin is not None and publishing.stderr is not None
        for n in (1, 2):
            publishing.stdin.write(b'{"event_type": "piped"}\n{"event_type":')
            publishing.stdin.flush()
            wait_until(partial(is_stored, before + n), "it is stored")
            publishing.stdin.write(b"\n")
            publishing.stdin.flush()
        publishing.send_signal(signal.SIGINT)
        assert publishing.wait(WAIT_SECONDS) == 1
        told = publishing.stderr.read().decode()
    # The answer to the last line may not have come yet.
    assert "interrupted" in told and " published, " in told
    assert "Traceback" not in told


def test_a_server_that_is_away_for_a_moment_gets_everything_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fast(monkeypatch)
    stored: list[str] = []

    def answer(asked: Asked) -> Answer:
        events = [json.loads(line) for line in asked.body.splitlines()]
        if not stored:
            # Stored, but the answer is lost.
            stored.extend(event["event_id"] for event in events)
            return Answer(0)
        if len(other.asked) == 2:
            return Answer(503, b'{"title": "The log is away"}', headers=(("Retry-After", "9"),))
        known = sum(event["event_id"] in stored for event in events)
        ids = list(range(len(events)))
        return Answer(200, json.dumps({"ids": ids, "duplicates": known}).encode())

    with ScriptedServer(answer) as other:
        done = run("publish", "--url", other.url, input='{"event_type": "a"}\n' * 3)
    assert done.exit_code == 0, done.output
    assert "3 published (3 were there already), 0 failed" in done.stderr
    assert "# answered 503 (The log is away); trying again in" in done.stderr
    assert len(other.asked) == 3
    assert len({asked.body for asked in other.asked}) == 1


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (Answer(200, b"hello"), "its answer isn't that of an ingest endpoint"),
        (Answer(200, b'{"ids": []}'), "its answer isn't that of an ingest endpoint"),
        (Answer(404, b"<html>\x1b[2J"), "answered 404"),
        (Answer(401, b'{"detail": "\\u001b[31mred"}'), "answered 401 (\\x1b[31mred)"),
        (Answer(403, b"[" * 100_000), "answered 403"),
        (Answer(403, b'{"errors": [1, {"loc": 3}, {"loc": "[x"}]}'), "answered 403"),
        (Answer(308, b"", headers=(("Location", "https://h/ingest"),)), "https://h/ingest"),
        (Answer(0), "the lines up to 0 were dealt with"),
        (Answer(500, b"{}"), "answered 500"),
    ],
    ids=["text", "ids", "html", "escape", "deep", "odd", "redirect", "cut", "broken"],
)
def test_a_server_that_refuses_ends_it_with_its_reason(
    answer: Answer, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fast(monkeypatch)
    with ScriptedServer(partial(always, answer)) as other:
        done = run("publish", "--url", other.url, input='{"event_type": "a"}\n', token=TOKEN)
    assert done.exit_code == 1
    assert message in done.stderr
    assert "\x1b" not in done.output and "Traceback" not in done.output
    assert len(other.asked) <= 1 + remote.RETRIES
    assert TOKEN not in done.output


def test_nobody_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    fast(monkeypatch)
    nowhere = f"http://127.0.0.1:{free_port()}"
    for words in (("publish", "a", "--url", nowhere), ("stats", nowhere)):
        done = run(*words)
        assert done.exit_code == 1
        assert "nobody listens there; start the server" in done.stderr
    done = run("tail", nowhere, "--retries", "0")
    assert done.exit_code == 1
    assert "nobody listens there" in done.stderr and "gave up" in done.stderr


def test_a_certificate_that_is_not_trusted_is_told_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(asked: Asked) -> Answer:
        if asked.method == "POST":
            return Answer(201, b'{"ids": [1]}')
        return stream("data: one\n\n")

    certificate, key = make_certificate(tmp_path)
    with ScriptedServer(answer, (certificate, key)) as other:
        commands = (("publish", "a", "--url", other.url), ("tail", other.url, "-n", "1"))
        for words in commands:
            done = run(*words)
            assert done.exit_code == 1
            assert "isn't trusted (self-signed certificate); name the file" in done.stderr
            assert "again" not in done.stderr
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
        assert [run(*words).stdout for words in commands] == ["1\n", "one\n"]


@pytest.mark.parametrize(
    "wrong",
    ["127.0.0.1:8000", "ftp://h", "http://", "http://h:99999", "http://u:p@h", "http://h/\n"],
)
def test_what_is_no_url_is_refused(wrong: str) -> None:
    words = [("publish", "a", "--url", wrong), ("stats", wrong)]
    for each in [*words, ("tail", wrong)] if "://" in wrong else words:
        done = run(*each)
        assert done.exit_code == 2, done.output
        assert "Traceback" not in done.output


def test_tail_reads_a_url_with_a_token_or_a_ticket(server: Server) -> None:
    server.post({"event_type": "for.ann", "entity_id": "e"})
    closed = url(server, "/closed/")
    words = ("tail", closed, "--since", "earliest", "--event-type", "for.*", "-n", "1")
    for more, token in (
        ((), "token-of-ann"),
        (("--header", "Authorization: Bearer token-of-ann"), None),
    ):
        done = run(*words, *more, token=token)
        assert done.exit_code == 0, done.output
        assert "for.ann" in done.stdout
    refused = run(*words)
    assert refused.exit_code == 1
    assert "answered 401 (" in refused.stderr and "SSE_SINK_TOKEN" in refused.stderr
    bad = run(*words, "--ticket", "a-ticket-of-nobody")
    assert bad.exit_code == 1 and "a-ticket-of-nobody" not in bad.output
    narrowed = run("tail", url(server, "/kept/"), "--event-type", "*.x")
    assert narrowed.exit_code == 1 and "is not a pattern" in narrowed.stderr


def test_tail_runs_a_command_for_each_event(server: Server, tmp_path: Path) -> None:
    ids = [*server.post({"event_type": "run.a"}), *server.post({"event_type": "run.b"})]
    words = ("tail", url(server, "/kept/"), "--event-type", "run.*", "--since", "earliest")
    script = "cat >> got; echo $SSE_EVENT_ID >> ids"
    done = run(*words, "-n", "2", "--exec", script)
    assert (done.exit_code, done.stdout) == (0, ""), done.output
    got = [json.loads(line) for line in (tmp_path / "got").read_text().splitlines()]
    assert [event["event_type"] for event in got] == ["run.a", "run.b"]
    assert (tmp_path / "ids").read_text().split() == list(map(str, ids))
    failing = run(*words, "-n", "2", "--exec", "exit 3")
    assert failing.exit_code == 1
    assert f"event {ids[0]}: the command exited with 3" in failing.stderr
    assert "failed for 2 events" in failing.stderr


def always(answer: Answer, asked: Asked) -> Answer:
    return answer


def stream(*frames: str) -> Answer:
    return Answer(200, "".join(frames).encode(), "text/event-stream")


@pytest.mark.parametrize(
    ("answer", "words", "message"),
    [
        (Answer(204), (), "the stream is over for good"),
        (Answer(200, b"<html>", "text/html"), (), "is no event stream but text/html"),
        (Answer(403, b'{"detail": "no grant"}'), (), "answered 403 (no grant)"),
        (Answer(503, b'{"detail": "full"}'), ("--retries", "1"), "gave up after 1 retries"),
    ],
    ids=["204", "html", "403", "503"],
)
def test_tail_ends_where_no_stream_will_come(
    answer: Answer, words: tuple[str, ...], message: str
) -> None:
    with ScriptedServer(partial(always, answer)) as other:
        done = run("tail", f"{other.url}/s/?ticket=secret", *words)
    assert done.exit_code == 1
    assert message in done.stderr
    assert "secret" not in done.output and "Traceback" not in done.output


def test_tail_comes_back_with_the_id_that_it_read_last() -> None:
    def answer(asked: Asked) -> Answer:
        if len(other.asked) == 1:
            return stream("retry: 10\n\n", "id: 7\ndata: one\n\n")
        return stream("event: other\nid: 8\ndata: two\n\n")

    with ScriptedServer(answer) as other:
        done = run("tail", f"{other.url}/s", "-n", "2", "--header", "X-Tenant: acme")
    assert done.stdout == "one\ntwo\n", done.output
    assert "# the stream ended; connecting again" in done.stderr
    assert other.asked[1].headers["last-event-id"] == "7"
    assert {asked.headers["x-tenant"] for asked in other.asked} == {"acme"}


def test_stats_tell_what_a_server_does(server: Server) -> None:
    server.post([{"event_type": "counted"}] * 3)
    with server.stream():
        told = run("stats", url(server), "--seconds", "0.1")
        found = json.loads(run("stats", url(server), "--seconds", "0.1", "--json").stdout)
    assert told.exit_code == 0, told.output
    names = [line.split()[0] for line in told.stdout.splitlines()]
    assert names == ["clients", "stored", "sent", "lag", "pulled", "log", "oldest"]
    assert found["clients"]["sinks"]["events_stream"] == 1
    stored = server.stored()
    assert found["log"]["head"] == found["log"]["events"] == stored[-1][0]
    assert found["log"]["bytes"] > 0
    assert found["pulled"]["pulled"]["unconfirmed"] == stored[-1][0]


def test_stats_need_a_server_of_ours() -> None:
    for body in (b"", b"\xff", b"up 1\n", b'x{"} 3\n'):
        with ScriptedServer(partial(always, Answer(200, body, "text/plain"))) as other:
            done = run("stats", other.url, "--seconds", "0.1")
        assert done.exit_code == 1
        assert "has no metrics of flask-sse-sink" in done.stderr


def test_a_reader_that_goes_ends_tail_quietly(server: Server, tmp_path: Path) -> None:
    words = ("tail", url(server, "/kept/"), "--since", "earliest", "--event-type", "left")
    server.post({"event_type": "left"})
    tailing = subprocess.Popen(
        [sys.executable, "-m", "flask_sse_sink", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(tmp_path / "none"),
        cwd=tmp_path,
    )
    with tailing:
        assert tailing.stdout is not None and tailing.stderr is not None
        assert b"left" in tailing.stdout.readline()
        tailing.stdout.close()
        server.post({"event_type": "left"})
        assert tailing.wait(WAIT_SECONDS) == 1
        told = tailing.stderr.read().decode()
    assert "Traceback" not in told and "BrokenPipe" not in told


def test_progress_and_colours_are_for_terminals(server: Server, tmp_path: Path) -> None:
    server.post({"event_type": "shown"})
    lines = b'{"event_type": "a"}\n' * 3
    (tmp_path / "three").write_bytes(lines)
    words = f"-m flask_sse_sink publish --url {url(server)}"
    tail = f"-m flask_sse_sink tail {url(server, '/kept/')} --since earliest -n 1"
    script = f"{sys.executable} {words} < three; {sys.executable} {tail} --event-type shown"
    seen = on_terminal(script, tmp_path)
    assert "\x1b[K3 published, 0 failed" in seen, seen
    assert "\x1b[36mshown" in seen, seen
    piped = run("publish", "--url", url(server), input=lines, token=TOKEN)
    assert piped.stderr == "3 published, 0 failed\n"
    assert (
        "\x1b" not in run("tail", url(server, "/kept/"), "--since", "earliest", "-n", "1").output
    )


def on_terminal(script: str, folder: Path) -> str:
    """Return what a script of the shell writes on a terminal."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        ["sh", "-c", script],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=slave,
        stderr=slave,
        env=environment(folder / "none", SSE_SINK_TOKEN=TOKEN),
    )
    os.close(slave)
    seen = b""
    try:
        # When all of the others' ends are closed, Linux raises EIO.
        while piece := os.read(master, 4096):
            seen += piece
    except OSError as error:
        assert error.errno == errno.EIO
    finally:
        os.close(master)
        assert process.wait(WAIT_SECONDS) == 0
    return seen.decode()


def test_a_library_that_is_missing_is_named_with_the_cure(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("remote", "stream_reader"):
        monkeypatch.delitem(sys.modules, f"flask_sse_sink.cli.{module}", raising=False)
    monkeypatch.setitem(sys.modules, "urllib3", None)
    for words in (
        ("publish", "a", "--url", "http://h"),
        ("stats", "http://h"),
        ("tail", "http://h"),
    ):
        done = run(*words)
        assert done.exit_code == 1
        assert "pip install 'flask-sse-sink[cli]'" in done.stderr
        assert "Traceback" not in done.output
