"""Where a stream may be written to directly, and where only the server can."""

from __future__ import annotations

import socket
import ssl
from types import SimpleNamespace
from typing import Any

import pytest
from gunicorn.http.wsgi import Response

from flask_sse_sink.stream import direct_socket as module
from flask_sse_sink.stream.direct_socket import DirectSocket, direct_socket


class ThreadWorker:
    """Looks like gunicorn's worker."""


class SyncWorker:
    """Looks like another of gunicorn's."""


def environ(connection: object, **changed: object) -> dict[str, Any]:
    response = Response(None, connection, None)

    def hints() -> object:
        return response

    made = {
        "gunicorn.socket": connection,
        "SERVER_PROTOCOL": "HTTP/1.1",
        "wsgi.early_hints": hints,
    }
    return {**made, **changed}


@pytest.fixture
def connection() -> Any:
    with socket.socket() as made:
        yield made


@pytest.fixture(autouse=True)
def worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "gunicorn_worker", ThreadWorker)


def test_a_plain_socket_of_gunicorns_threaded_worker_is_a_direct_socket(
    connection: socket.socket,
) -> None:
    assert isinstance(direct_socket(environ(connection)), DirectSocket)


@pytest.mark.parametrize(
    "changed",
    [
        {"SERVER_PROTOCOL": "HTTP/1.0"},
        {"SERVER_PROTOCOL": "HTTP/2.0"},
        {"gunicorn.socket": None},
        {"gunicorn.socket": SimpleNamespace(send=lambda data, flags: 0)},
        {"wsgi.early_hints": None},
        {"wsgi.early_hints": lambda: None},
    ],
)
def test_what_is_not_known_to_be_safe_is_no_direct_socket(
    connection: socket.socket, changed: dict[str, object]
) -> None:
    assert not isinstance(direct_socket(environ(connection, **changed)), DirectSocket)


def test_a_socket_under_tls_is_no_direct_socket(connection: socket.socket) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    with context.wrap_socket(connection, do_handshake_on_connect=False) as wrapped:
        assert not isinstance(direct_socket(environ(wrapped)), DirectSocket)


def test_without_the_interpreters_lock_there_is_no_direct_socket(
    connection: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys._is_gil_enabled", lambda: False, raising=False)
    assert not isinstance(direct_socket(environ(connection)), DirectSocket)


@pytest.mark.parametrize("worker", [SyncWorker, lambda: None])
def test_another_worker_or_server_gives_no_direct_socket(
    connection: socket.socket, monkeypatch: pytest.MonkeyPatch, worker: Any
) -> None:
    monkeypatch.setattr(module, "gunicorn_worker", worker)
    assert not isinstance(direct_socket(environ(connection)), DirectSocket)


@pytest.mark.parametrize(
    ("opens", "changed"),
    [
        (True, {}),
        (False, {"sent": 0}),
        (False, {"sent": 11}),
        (False, {"chunked": False}),
        (False, {"headers": [("Content-Encoding", "gzip")]}),
    ],
)
def test_a_direct_socket_opens_if_the_first_bytes_went_out_as_they_were(
    connection: socket.socket, opens: bool, changed: dict[str, object]
) -> None:
    answer = SimpleNamespace(**{"sent": 10, "chunked": True, "headers": [], **changed})
    request = {"wsgi.early_hints": object()}
    assert DirectSocket(connection, answer, request).opens(10) is opens
    assert request == {}
