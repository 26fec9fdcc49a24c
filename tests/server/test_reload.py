"""A running server and its configuration: a mistake is told, and ends nothing."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from support.measured import Measured
from support.processes import ROOT, environment, free_port, gunicorn_command
from support.server import Server
from support.stream import SocketStream
from support.waiting import WAIT_SECONDS, wait_until

STAYS = "the old one stays in force"


def reload(server: Server, workers: int = 2) -> None:
    """Have the server read its configuration anew, and return once new workers serve."""
    old = server.workers()
    os.kill(server.pid, signal.SIGHUP)

    def is_done() -> bool:
        found = server.workers()
        return len(found) == workers and not set(found) & set(old)

    wait_until(is_done, f"new workers are there\n{server.log}")
    wait_until(lambda: server.answers("/healthz") == 200, "they answer")


def check_streams(server: Server) -> None:
    with server.one_of_each_worker(server.stream) as streams:
        ids = server.post([{"event_type": "a"}, {"event_type": "b"}])
        for stream in streams.values():
            assert stream.ids_until(ids[-1]) == ids


@contextlib.contextmanager
def listener() -> Iterator[int]:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        made.listen()
        yield made.getsockname()[1]


# Writes a configuration with a mistake; takes a port that is taken, returns what is to be told.
Break = Callable[[Server, int], list[str]]


def not_yaml(server: Server, taken: int) -> list[str]:
    server.config.write_text("sink: [\n")
    return ["config.yaml: not YAML"]


def many_mistakes(server: Server, taken: int) -> list[str]:
    server.config.write_text("server: {port: x, wokers: 2}\nsink: {a: {type: sse, match: 'a*'}}\n")
    return [
        'server.port: "x" is not a whole number',
        "did you mean workers?",
        "config.yaml: sink.a.match",
    ]


def missing_variable(server: Server, taken: int) -> list[str]:
    server.configure({"sink": {"events_stream": {"path": "/${NO_SUCH_VARIABLE_HERE}"}}})
    return ["the variable NO_SUCH_VARIABLE_HERE isn't set; set it in the environment or in .env"]


def missing_file(server: Server, taken: int) -> list[str]:
    server.config.unlink()
    return ["config.yaml: can't be read (No such file or directory)"]


def no_log(server: Server, taken: int) -> list[str]:
    picture = server.folder / "picture.png"
    picture.write_bytes(b"\x89PNG, and no database. " * 50)
    server.configure({"database": {"url": f"sqlite:///{picture}"}})
    return ["the file is no SQLite database; name another in database.url"]


def port_of_another_program(server: Server, taken: int) -> list[str]:
    server.configure({"server": {"port": taken}})
    return [f"server.port: 127.0.0.1:{taken} is taken by another program; end that one"]


def host_of_another_machine(server: Server, taken: int) -> list[str]:
    server.configure({"server": {"host": "203.0.113.7", "port": taken}})
    return [f"203.0.113.7:{taken} can't be listened on", "name an address of this machine"]


def host_changed_alone(server: Server, taken: int) -> list[str]:
    server.configure({"server": {"host": "0.0.0.0"}})
    return ["can't change while workers listen on the same port; restart the server for it"]


def sink_that_meets_a_route(server: Server, taken: int) -> list[str]:
    server.configure({"sink": {"healthz": {"type": "sse"}}})
    return ["sink.healthz: /healthz/ meets the app's route", "choose another"]


BROKEN: list[Break] = [
    not_yaml,
    many_mistakes,
    missing_variable,
    missing_file,
    no_log,
    port_of_another_program,
    host_of_another_machine,
    host_changed_alone,
    sink_that_meets_a_route,
]


def test_a_reload_with_a_mistake_leaves_the_old_configuration_in_force(
    tmp_path: Path, measured: Measured
) -> None:
    with Server(tmp_path) as server, listener() as taken:
        for turn, make_wrong in enumerate(BROKEN, 1):
            expected = make_wrong(server, taken)
            before = len(server.log)
            began = time.monotonic()
            reload(server)
            seconds = time.monotonic() - began
            told = server.log[before:]
            assert told.count("[ERROR]") == 1 and STAYS in told, told
            for part in expected:
                assert part in told, (make_wrong.__name__, told)
            check_streams(server)
            # A worker that dies meanwhile gets a successor that knows the old one.
            if turn % 3 == 0:
                server.kill(server.workers()[0])
                wait_until(lambda: len(server.workers()) == 2, "its successor is there")
                check_streams(server)
            server.configure({})
        measured("SIGHUP with a mistake in config.yaml: served by new workers", f"{seconds:.2f} s")
        # A right one is taken over as a whole, after all of these.
        port = free_port()
        server.configure(
            {"server": {"port": port, "workers": 3}, "sink": {"another": {"type": "sse"}}}
        )
        old = server.port
        server.port = port
        reload(server, workers=3)
        with SocketStream(port, "/another/") as stream:
            assert stream.status == 200
        with contextlib.closing(socket.socket()) as gone:
            wait_until(lambda: gone.connect_ex(("127.0.0.1", old)) != 0, "the old port is closed")
        check_streams(server)
        assert "Traceback" not in server.log, server.log


def test_max_clients_change_with_a_reload(tmp_path: Path) -> None:
    with Server(tmp_path, {"server": {"workers": 1, "max_clients": 1}}) as server:
        with server.stream():
            assert server.answers("/events_stream/") == 503
        server.configure({"server": {"max_clients": 3}})
        reload(server, workers=1)
        with server.stream(), server.stream(), server.stream():
            assert server.answers("/events_stream/") == 503
        (worker,) = server.workers()
        assert "at most" not in server.log, worker


def test_what_env_holds_is_read_anew_by_a_reload(tmp_path: Path) -> None:
    """And where the file has a mistake, the old value stays as well."""
    variables = tmp_path / ".env"
    variables.write_text("A_TOKEN_OF_TESTS=the-first-token\n")
    with Server(
        tmp_path, {"server": {"workers": 1}, "ingest": {"tokens": ["${A_TOKEN_OF_TESTS}"]}}
    ) as server:
        server.token = "the-first-token"
        server.post({"event_type": "a"})
        variables.write_text("A_TOKEN_OF_TESTS=the-second-token\n")
        server.configure({"nothing": 1})
        reload(server, workers=1)
        server.post({"event_type": "a"})
        server.configure({})
        reload(server, workers=1)
        with pytest.raises(AssertionError, match="401"):
            server.post({"event_type": "a"})
        server.token = "the-second-token"
        server.post({"event_type": "a"})


def test_a_preloaded_app_outlives_a_reload_with_a_mistake(tmp_path: Path) -> None:
    with Server(tmp_path, arguments=["--preload"]) as server:
        server.configure({"server": {"port": "x"}})
        reload(server)
        assert STAYS in server.log
        check_streams(server)
        server.kill(server.workers()[0])
        wait_until(lambda: len(server.workers()) == 2, "its successor is there")
        check_streams(server)
        server.configure({"server": {"workers": 1}})
        reload(server, workers=1)
        check_streams(server)
        assert "restart the server for the rest" in server.log


def test_a_log_that_was_damaged_ends_no_server_that_runs(tmp_path: Path) -> None:
    database = tmp_path / "events.db"
    with Server(tmp_path, {"server": {"workers": 1}}) as server:
        (first,) = server.post({"event_type": "a"})
        kept = tmp_path / "kept.db"
        subprocess.run(
            [sys.executable, "-c", "import sqlite3, sys; sqlite3.connect(sys.argv[1]).execute("
             "'VACUUM INTO ?', (sys.argv[2],))", database, kept],
            check=True,
        )  # fmt: skip
        for name in ("events.db", "events.db-wal", "events.db-shm"):
            (tmp_path / name).unlink(missing_ok=True)
        database.write_text("no database, but longer than a header is. " * 5)
        reload(server, workers=1)
        assert server.answers("/readyz") == 503
        # A worker that comes later finds the same.
        server.kill(server.workers()[0])
        wait_until(lambda: server.answers("/readyz") == 503, "the successor answers")
        shutil.move(kept, database)
        wait_until(lambda: server.answers("/readyz") == 200, "the copy serves")
        assert server.post({"event_type": "a"}) == [first + 1]


def test_a_mistake_in_gunicorns_own_file_ends_no_server_that_runs(tmp_path: Path) -> None:
    own = tmp_path / "own.conf.py"
    shipped = (ROOT / "gunicorn.conf.py").read_text()
    own.write_text(shipped)

    def command(port: int) -> list[str]:
        return [str(own) if part.endswith("gunicorn.conf.py") else part
                for part in gunicorn_command(tmp_path)]  # fmt: skip

    with Server(tmp_path, command=command) as server:
        # What was read before the mistake isn't taken over either.
        server.configure({"sink": {"events_stream": {"path": "/elsewhere"}}})
        for wrong in ("x = (\n", "workers = 'many'\n", "1 / 0\n"):
            own.write_text(shipped + wrong)
            before = len(server.log)
            reload(server)
            assert STAYS in server.log[before:]
            check_streams(server)
        own.write_text(shipped + "workers = 1\n")
        server.configure({})
        reload(server, workers=1)
        check_streams(server)


def test_a_flag_that_wins_over_the_file_wins_over_its_mistake(tmp_path: Path) -> None:
    """server.port doesn't count beside --bind, so that a taken one is no mistake."""
    config = tmp_path / "config.yaml"
    unused = free_port()

    def command(port: int) -> list[str]:
        config.write_text(config.read_text().replace(f"port: {port}", f"port: {unused}"))
        return gunicorn_command(tmp_path, "--bind", f"127.0.0.1:{port}")

    with listener() as taken, Server(tmp_path, command=command) as server:
        server.configure({"server": {"port": taken, "workers": 1}})
        reload(server, workers=1)
        assert STAYS not in server.log


def start(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        gunicorn_command(folder, *arguments),
        cwd=folder,
        env=environment(folder / "config.yaml"),
        capture_output=True,
        text=True,
        timeout=WAIT_SECONDS,
    )


@pytest.mark.parametrize("flag", [False, True])
def test_a_taken_port_ends_the_start_with_one_message(
    tmp_path: Path, measured: Measured, flag: bool
) -> None:
    with listener() as taken:
        (tmp_path / "config.yaml").write_text(
            f"server: {{port: {free_port() if flag else taken}}}\n"
            f"database: {{url: 'sqlite:///{tmp_path}/events.db'}}\n"
            "ingest: {auth: none}\nsink: {sse: }\n"
        )
        began = time.monotonic()
        done = start(tmp_path, *(["--bind", f"127.0.0.1:{taken}"] if flag else []))
        seconds = time.monotonic() - began
    told = done.stderr + done.stdout
    assert done.returncode != 0
    assert told.count("[ERROR]") == 1, told
    assert f"127.0.0.1:{taken} is taken by another program" in told
    assert "server.port in config.yaml" in told or "server.port in " in told
    assert "--bind" in told and "Traceback" not in told
    measured("a port that is taken: told, and ended", f"{seconds:.2f} s")
    assert seconds < 20
    left = [found.name for found in Path("/dev/shm").glob("sse-sink-metrics-*")]
    assert not [name for name in left if not psutil.pid_exists(int(name.rpartition("-")[2]))]


def test_a_server_that_replaces_itself_finds_its_own_port_taken_and_goes_on(
    tmp_path: Path,
) -> None:
    """SIGUSR2: the new master has the listeners of the old one."""
    pidfile = tmp_path / "pid"
    # `python -m gunicorn` can't start itself anew.
    script = Path(sys.executable).with_name("gunicorn")

    def command(port: int) -> list[str]:
        return [str(script), *gunicorn_command(tmp_path, "--pid", str(pidfile))[3:]]

    with Server(tmp_path, {"server": {"workers": 1}}, command=command) as server:
        os.kill(server.pid, signal.SIGUSR2)
        second = Path(f"{pidfile}.2")
        wait_until(second.exists, "the new master is there")
        pid = int(second.read_text())
        wait_until(lambda: len(psutil.Process(pid).children()) == 1, "it has its worker")
        server.post({"event_type": "a"})
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not psutil.pid_exists(pid), "it is gone")
        assert "taken by" not in server.log
