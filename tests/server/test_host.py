"""How many streams a server's threads can carry, whichever server it is."""

from __future__ import annotations

import socket
import ssl
import sys
from pathlib import Path

import gunicorn
import pytest

from support.certificate import make_certificate
from support.processes import gunicorn_command
from support.server import Server
from support.stream import SocketStream
from support.their_app import TheirGunicorn, write_app
from support.waiting import wait_until

REFUSED = "at most {} streams are admitted instead of server.max_clients: 1000"
QUEUED = "events aren't sent directly: "


def check_refuses_and_ingests(server: Server) -> None:
    for _ in range(3):
        with SocketStream(server.port) as refused:
            assert refused.status == 503, refused.head
            assert b"its log says" in refused.rest()
    first, second = server.post([{"event_type": "a"}, {"event_type": "b"}])
    assert second == first + 1
    assert server.answers("/readyz") == 200
    assert server.log.count(REFUSED.format(0)) == 1
    assert "Traceback" not in server.log, server.log


def test_gevents_workers_refuse_streams_with_the_cure_and_take_events(tmp_path: Path) -> None:
    with TheirGunicorn(tmp_path, "-k", "gevent") as server:
        check_refuses_and_ingests(server)
        assert "gevent, which replaces threads by greenlets" in server.log
        assert "use e.g. gunicorn --worker-class gthread" in server.log


@pytest.mark.parametrize("preload", [[], ["--preload"]])
def test_so_do_those_of_the_ready_server(tmp_path: Path, preload: list[str]) -> None:
    """There the package is imported before gevent replaces anything."""

    def command(port: int) -> list[str]:
        return gunicorn_command(tmp_path, "--worker-class", "gevent", *preload)

    with Server(
        tmp_path, {"server": {"workers": 1, "max_clients": 1000}}, command=command
    ) as server:
        check_refuses_and_ingests(server)


def test_a_sync_worker_refuses_streams_with_the_cure_and_takes_events(tmp_path: Path) -> None:
    with TheirGunicorn(tmp_path) as server:
        check_refuses_and_ingests(server)
        assert "--threads 1 (use --worker-class gthread and more --threads)" in server.log


def waitress(folder: Path, *arguments: str) -> Server:
    write_app(folder)

    def command(port: int) -> list[str]:
        made = [sys.executable, "-m", "waitress", "--listen", f"127.0.0.1:{port}"]
        return [*made, *arguments, "theirs:app"]

    return Server(folder, command=command)


@pytest.mark.parametrize(("arguments", "streams"), [([], 2), (["--threads=20"], 12)])
def test_waitress_keeps_room_for_the_rest(
    tmp_path: Path, arguments: list[str], streams: int
) -> None:
    with waitress(tmp_path, *arguments) as server:
        opened: list[SocketStream] = []
        try:
            while len(opened) < streams:
                opened.append(server.stream())
            for _ in range(3):
                with SocketStream(server.port) as refused:
                    assert refused.status == 503
            ids = server.post([{"event_type": "a"}] * 3)
            for stream in opened:
                assert stream.ids_until(ids[-1]) == ids
            assert server.answers("/readyz") == 200
        finally:
            for stream in opened:
                stream.close()
        assert REFUSED.format(streams) in server.log
        assert f"waitress's threads={20 if arguments else 4} (serve with more)" in server.log
        assert server.log.count(f"{QUEUED}it is known for gunicorn alone") == 1


def test_direct_send_that_is_off_is_told_once_with_its_reason(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    files = ("--keyfile", str(key), "--certfile", str(certificate))
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with Server(tmp_path, {"server": {"workers": 1}}, arguments=files, tls=True) as server:
        for _ in range(3):
            with socket.create_connection(("127.0.0.1", server.port)) as plain:
                with context.wrap_socket(plain) as connection:
                    connection.sendall(b"GET /events_stream/ HTTP/1.1\r\nHost: a\r\n\r\n")
                    got = b""
                    while b"data: connected" not in got:
                        got += connection.recv(4096)
        assert server.log.count(QUEUED) == 1
        assert "gunicorn itself speaks TLS; leave that to a proxy before it" in server.log


# The worker class that finds the response by them.
PLAIN = ["-w1", "-kgthread"]


def test_an_old_gunicorn_is_told(tmp_path: Path) -> None:
    """Before 25 it has no early hints, through which its response is found."""
    own = tmp_path / "old.py"
    own.write_text("import gunicorn.http.wsgi as w\nmade = w.create\n"
        "def create(*args, **named):\n"
        "    resp, environ = made(*args, **named)\n"
        "    del environ['wsgi.early_hints']\n"
        "    return resp, environ\n"
        "w.create = create\nfrom wsgi import app\n")  # fmt: skip

    def command(port: int) -> list[str]:
        return [*gunicorn_command(tmp_path)[:-1], "--pythonpath", str(tmp_path), *PLAIN, "old:app"]

    with Server(tmp_path, {"server": {"workers": 1}}, command=command) as server:
        with server.stream(), server.stream(), server.stream():
            pass
        wait_until(lambda: QUEUED in server.log, "it is told")
        told = f"{QUEUED}gunicorn {gunicorn.__version__} doesn't hand out its response; use 25.0"
        assert server.log.count(told) == server.log.count(QUEUED) == 1


def test_what_is_one_clients_own_is_not_told(tmp_path: Path) -> None:
    with Server(tmp_path, {"server": {"workers": 1}}) as server, server.stream():
        with socket.create_connection(("127.0.0.1", server.port)) as plain:
            plain.sendall(b"GET /events_stream/ HTTP/1.0\r\n\r\n")
            got = b""
            while b"data: connected" not in got:
                got += plain.recv(4096)
        assert QUEUED not in server.log
