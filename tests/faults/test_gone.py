"""A client that goes away is gone at once, however it goes."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import ssl
import statistics
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from support.certificate import make_certificate
from support.crowd import REQUEST, Crowd
from support.measured import Measured
from support.processes import ROOT, flask_command
from support.server import Server
from support.stream import SocketStream

pytestmark = pytest.mark.usefixtures("both_ways")

CLIENTS = 'sse_sink_clients{sink="events_stream"}'


def half_close(stream: socket.socket) -> None:
    stream.shutdown(socket.SHUT_WR)


def reset(stream: socket.socket) -> None:
    stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    stream.close()


WAYS: dict[str, Callable[[socket.socket], None]] = {
    "close": socket.socket.close,
    "half-close": half_close,
    "reset": reset,
}


def until_free(server: Server) -> float:
    """Return the seconds until the only slot is free again."""
    began = time.monotonic()
    while True:
        with SocketStream(server.port) as tried:
            if tried.status == 200:
                return time.monotonic() - began
        assert time.monotonic() - began < 20, "the slot is never free"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("kind", ["gunicorn", "flask run"])
def test_a_gone_client_frees_its_place_at_once(
    tmp_path: Path, measured: Measured, kind: str, way: str
) -> None:
    command = flask_command if kind == "flask run" else None
    with Server(tmp_path, {"server": {"workers": 1, "max_clients": 1}}, command=command) as server:
        times = []
        for _ in range(20):
            # The last probe has to be gone first.
            server.wait_for_metrics({CLIENTS: 0})
            with Crowd(server.port, 1) as crowd:
                WAYS[way](crowd.heard[0].socket)
                times.append(until_free(server) * 1000)
        times.sort()
        shown = f"p50 {statistics.median(times):.0f} ms, worst of 20 {times[-1]:.0f} ms"
        measured(f"{kind}, {way}: until the place is free", shown)
        assert statistics.median(times) < 100
        assert times[-1] < 2000
    assert "Traceback" not in server.log, server.log


def test_a_thousand_clients_that_leave_at_once_are_gone_soon(
    tmp_path: Path, measured: Measured
) -> None:
    with Server(tmp_path, {"server": {"workers": 1, "max_clients": 1000}}) as server:
        with Crowd(server.port, 1000):
            server.wait_for_metrics({CLIENTS: 1000})
        began = time.monotonic()
        server.wait_for_metrics({CLIENTS: 0})
        measured("1,000 close at once: none is counted", f"{time.monotonic() - began:.2f} s")
    assert "Traceback" not in server.log, server.log


def test_a_client_over_tls_that_closes_is_gone_at_once(tmp_path: Path, measured: Measured) -> None:
    certificate, key = make_certificate(tmp_path)
    context = ssl.create_default_context(cafile=str(certificate))
    arguments = ["--certfile", str(certificate), "--keyfile", str(key)]

    def connect() -> tuple[ssl.SSLSocket, int]:
        raw = socket.create_connection(("127.0.0.1", server.port), timeout=20)
        stream = context.wrap_socket(raw, server_hostname="localhost")
        stream.sendall(REQUEST)
        got = b""
        while b"\r\n\r\n" not in got or (b" 200 " in got and b"connected" not in got):
            got += stream.recv(65536)
        return stream, int(got.split()[1])

    with Server(
        tmp_path, {"server": {"workers": 1, "max_clients": 1}}, arguments=arguments, tls=True
    ) as server:
        times = []
        for _ in range(10):
            status = 503
            while status != 200:
                stream, status = connect()
                if status != 200:
                    stream.close()
            stream.close()
            began = time.monotonic()
            status = 503
            while status != 200:
                stream, status = connect()
                stream.close()
            times.append((time.monotonic() - began) * 1000)
        measured("TLS, close: until the place is free", f"p50 {statistics.median(times):.0f} ms")
        assert statistics.median(times) < 200
        # Told to end, it ends properly over TLS too.
        status = 503
        while status != 200:
            stream, status = connect()
        server.terminate()
        rest = b""
        with contextlib.suppress(ssl.SSLEOFError):
            while data := stream.recv(65536):
                rest += data
        stream.close()
        assert b"data: closing\n" in rest and rest.endswith(b"\n\n\r\n0\r\n\r\n"), rest
    assert "Traceback" not in server.log, server.log


def test_a_peer_that_vanishes_without_a_word_is_cut_in_time(
    tmp_path: Path, measured: Measured
) -> None:
    """In a network namespace, where the way back to the peers is taken away."""
    unshare = shutil.which("unshare")
    assert unshare and shutil.which("ip"), "unshare and ip (iproute2) make the network; install"
    script = ROOT / "tests" / "support" / "vanish.py"
    command = [unshare, "--user", "--map-root-user", "--net", sys.executable, str(script)]
    done = subprocess.run(
        [*command, str(tmp_path)], capture_output=True, text=True, timeout=100, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for name, seconds in json.loads(done.stdout.splitlines()[-1]).items():
        measured(f"vanished without a word, write_timeout 2 s, {name}", f"{seconds:.1f} s")
        assert 1 < seconds < 8
