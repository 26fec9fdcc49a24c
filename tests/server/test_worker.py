"""Connections that are no stream: slow, silent, refused and closing ones, at a real server."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import socket
import ssl
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from support.certificate import make_certificate
from support.measured import Measured
from support.processes import gunicorn_command
from support.server import Server
from support.settings import Settings, merged
from support.waiting import WAIT_SECONDS, wait_until

EVENT = b'{"event_type": "a.b"}'
POST = b"POST /ingest HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
WHOLE_POST = POST + b"Content-Length: %d\r\n\r\n%b" % (len(EVENT), EVENT)
CHUNKED_POST = POST + b"Transfer-Encoding: chunked\r\n\r\n"
GET = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"

# The timeouts of a server that is in a hurry, and how late its machine may be.
HASTY_SECONDS = 0.5
LATE_SECONDS = 2.5

# How a client can leave a request unfinished.
UNFINISHED = {
    "silence": b"",
    "a byte": b"G",
    "half a head": GET[:30],
    "no body": POST + b"Content-Length: 100\r\n\r\n",
    "half a body": WHOLE_POST[:-5],
    "half of a large body": POST + b"Content-Length: 1000000\r\n\r\n" + b" " * 100_000,
    "half a chunk": CHUNKED_POST + b"64\r\n[",
    "half of a large chunk": CHUNKED_POST + b"FFFFF\r\n" + b" " * 100_000,
    "no continuation": POST + b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n",
}
UNFINISHED_REQUESTS = {name: sent for name, sent in UNFINISHED.items() if name != "silence"}


@contextlib.contextmanager
def connected(server: Server, sent: bytes = b"") -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", server.port), WAIT_SECONDS) as made:
        made.sendall(sent)
        yield made


def everything_from(connection: socket.socket) -> bytes:
    """Return all that comes until the server closes its side."""
    parts = []
    # A reset is an end too, and so is TLS's complaint about half a record.
    with contextlib.suppress(ConnectionResetError, ssl.SSLError):
        while data := connection.recv(65536):
            parts.append(data)
    return b"".join(parts)


def health_seconds(server: Server) -> float:
    began = time.monotonic()
    assert server.answers("/healthz") == 200
    return time.monotonic() - began


SMALL = {"server": {"workers": 1, "max_clients": 10}}


def small(tmp_path: Path, settings: Settings | None = None) -> Server:
    return Server(tmp_path, merged(SMALL, settings or {}))


def hasty(tmp_path: Path) -> Server:
    """Return a server that waits for a request only for so long."""
    seconds = HASTY_SECONDS
    return small(tmp_path, {"server": {"head_timeout": seconds, "body_timeout": seconds}})


def test_clients_that_do_not_close_after_an_answer_stop_nobody(
    tmp_path: Path, measured: Measured
) -> None:
    close = b"GET %b HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"
    with (
        small(tmp_path, {"sink": {"events_stream": {"max_clients": 1}}}) as server,
        contextlib.ExitStack() as stack,
    ):
        stack.enter_context(server.stream())
        for n in range(40):
            path = b"/events_stream/" if n % 2 else b"/healthz"
            made = stack.enter_context(connected(server, close % path))
            wanted = b"503" if n % 2 else b"200"
            assert everything_from(made).startswith(b"HTTP/1.1 " + wanted)
        seconds = health_seconds(server)
        measured(
            "/healthz beside 40 clients that don't close, one worker", f"{seconds * 1e3:.1f} ms"
        )
        assert seconds < 0.5


def test_connections_that_do_nothing_take_no_thread_from_the_others(
    tmp_path: Path, measured: Measured
) -> None:
    ended = threading.Event()
    came = itertools.count()

    def come_and_go(server: Server) -> None:
        with contextlib.ExitStack() as stack:
            opened: list[socket.socket] = []
            for sent in itertools.cycle(UNFINISHED.values()):
                if ended.is_set():
                    return
                with contextlib.suppress(OSError):
                    opened.append(stack.enter_context(connected(server, sent)))
                next(came)
                if len(opened) == 50:
                    opened.pop(0).close()
                ended.wait(0.01)

    with small(tmp_path) as server, server.stream() as stream, contextlib.ExitStack() as stack:
        # How long it takes without them, on a machine that other tests keep busy.
        calm = statistics.quantiles([health_seconds(server) for _ in range(200)], n=100)[98]
        threads = [threading.Thread(target=come_and_go, args=(server,)) for _ in range(4)]
        for thread in threads:
            thread.start()
            stack.callback(thread.join)
        stack.callback(ended.set)
        wait_until(lambda: next(came) > 250, "they are there")
        ids = itertools.count(1)
        # Other tests that run beside this one may take the processor away for a while.
        for _ in range(6):
            seconds = []
            for n in range(200):
                seconds.append(health_seconds(server))
                if n % 10 == 0:
                    id = next(ids)
                    assert server.post({"event_type": "a.b"}) == [id]
                    assert stream.message_id() == id
            p99 = statistics.quantiles(seconds, n=100)[98]
            if p99 < max(0.05, 4 * calm):
                break
        measured(
            "/healthz while 200 unfinished requests come and go, one worker: p50, p99",
            f"{statistics.median(seconds) * 1e3:.1f} ms, {p99 * 1e3:.1f} ms",
        )
        assert p99 < max(0.05, 4 * calm)


@pytest.mark.parametrize("name", UNFINISHED_REQUESTS)
def test_a_request_that_stays_unfinished_is_told_so_and_closed(tmp_path: Path, name: str) -> None:
    with hasty(tmp_path) as server, connected(server, UNFINISHED[name]) as made:
        began = time.monotonic()
        answer = everything_from(made)
        assert 0.8 * HASTY_SECONDS < time.monotonic() - began < HASTY_SECONDS + LATE_SECONDS
        assert b"HTTP/1.1 408 " in answer
        assert b"Connection: close" in answer
        assert server.stored() == []


def test_a_silent_connection_is_closed_without_a_word(tmp_path: Path) -> None:
    with hasty(tmp_path) as server, connected(server) as made:
        assert everything_from(made) == b""


@pytest.mark.once
@pytest.mark.parametrize("name", UNFINISHED_REQUESTS)
def test_a_byte_now_and_then_does_not_prolong_a_request(tmp_path: Path, name: str) -> None:
    with hasty(tmp_path) as server, connected(server, UNFINISHED[name]) as made:
        made.settimeout(0.05)
        began = time.monotonic()
        with contextlib.suppress(OSError):
            while time.monotonic() - began < WAIT_SECONDS:
                made.sendall(b" ")
                with contextlib.suppress(TimeoutError):
                    if not made.recv(65536):
                        break
        # The head may take its time, and then the body.
        assert time.monotonic() - began < 2 * HASTY_SECONDS + LATE_SECONDS


@pytest.mark.once
@pytest.mark.parametrize("head", [POST + b"Content-Length: 8192\r\n\r\n", CHUNKED_POST])
def test_a_body_that_comes_steadily_may_take_longer_than_the_timeout(
    tmp_path: Path, head: bytes
) -> None:
    event = EVENT + b" " * (8192 - len(EVENT))
    pieces = [event[at : at + 512] for at in range(0, len(event), 512)]
    if head is CHUNKED_POST:
        pieces = [b"200\r\n%b\r\n" % piece for piece in pieces] + [b"0\r\n\r\n"]
    with hasty(tmp_path) as server, connected(server, head) as made:
        for piece in pieces:
            # Not a wait: 512 bytes in this time are more than 1 KiB a second.
            time.sleep(HASTY_SECONDS / 5)
            made.sendall(piece)
        assert made.recv(65536).startswith(b"HTTP/1.1 201 ")


def pieces_of(size: int) -> Iterator[bytes]:
    for _ in range(size // 50_000):
        yield b" " * 50_000


REFUSED = [
    # token, content type, size, status
    ("wrong-token", "application/json", 100_000, 401),
    ("wrong-token", "application/json", 15 * 2**20, 401),
    ("right-token", "text/plain", 4 * 2**20, 415),
    ("right-token", "application/json", 1_050_000, 413),
    ("right-token", "application/json", 4 * 2**20, 413),
    ("right-token", "application/json", 15 * 2**20, 413),
]


@pytest.mark.parametrize("chunked", [False, True])
def test_a_refusal_reaches_a_client_that_is_still_sending(tmp_path: Path, chunked: bool) -> None:
    with small(tmp_path, {"ingest": {"tokens": ["right-token"]}}) as server:
        for token, content_type, size, status in REFUSED:
            headers = {"Authorization": f"Bearer {token}", "Content-Type": content_type}

            def body(size: int = size) -> Iterator[bytes] | bytes:
                return pieces_of(size) if chunked else b" " * size

            with requests.post(
                server.url("/ingest"), data=body(), headers=headers, timeout=WAIT_SECONDS
            ) as answer:
                assert answer.status_code == status
            made = http.client.HTTPConnection("127.0.0.1", server.port, timeout=WAIT_SECONDS)
            with contextlib.closing(made):
                made.request("POST", "/ingest", body(), headers, encode_chunked=chunked)
                assert made.getresponse().status == status
        assert server.stored() == []


def test_a_refused_body_without_an_end_is_cut_off(tmp_path: Path, measured: Measured) -> None:
    with small(tmp_path, {"ingest": {"tokens": ["right-token"]}}) as server:
        with connected(server, CHUNKED_POST) as made:
            sent = 0
            with contextlib.suppress(OSError):
                while sent < 200 * 2**20:
                    made.sendall(b"10000\r\n" + b" " * 65536 + b"\r\n")
                    sent += 65536
            measured("a refused body without an end: taken before the cut", f"{sent >> 20} MiB")
            # What the two kernels hold comes on top of 16 MiB.
            assert 16 * 2**20 <= sent < 40 * 2**20
        assert health_seconds(server) < 0.5


@pytest.mark.parametrize(
    ("token", "length", "status"),
    [("wrong-token", 100, b"401"), ("right-token", 2**21, b"413"), ("right-token", 21, b"100")],
)
def test_a_client_that_waits_for_100_continue_is_refused_at_once(
    tmp_path: Path, token: str, length: int, status: bytes
) -> None:
    head = (
        POST
        + (
            f"Authorization: Bearer {token}\r\nContent-Length: {length}\r\n"
            "Expect: 100-continue\r\n\r\n"
        ).encode()
    )
    with (
        small(tmp_path, {"ingest": {"tokens": ["right-token"]}}) as server,
        connected(server, head) as made,
    ):
        answer = made.recv(65536)
        assert answer.startswith(b"HTTP/1.1 " + status)
        if status == b"100":
            assert answer == b"HTTP/1.1 100 Continue\r\n\r\n"
            made.sendall(EVENT)
            assert made.recv(65536).startswith(b"HTTP/1.1 201 ")


def test_curl_is_refused_before_it_sends_a_large_body(tmp_path: Path) -> None:
    body = tmp_path / "body"
    body.write_bytes(b" " * 8 * 2**20)
    with small(tmp_path) as server:
        command = ["curl", "-s", "-w", "%{http_code} %{size_upload}", "-o", "/dev/null"]
        command += ["-H", "Content-Type: application/json", "--data-binary", f"@{body}"]
        done = subprocess.run([*command, server.url("/ingest")], capture_output=True, timeout=60)
        assert done.stdout == b"413 0"


def test_one_connection_serves_many_requests_however_they_are_cut(tmp_path: Path) -> None:
    requests_ = WHOLE_POST + CHUNKED_POST + b"15\r\n%b\r\n0\r\n\r\n" % EVENT + GET
    with small(tmp_path) as server:
        for size in (1, 7, 100, len(requests_) * 3):
            with connected(server) as made:
                for at in range(0, len(requests_) * 3, size):
                    made.sendall((requests_ * 3)[at : at + size])
                raw = b""
                while raw.count(b"HTTP/1.1 20") < 9:
                    raw += made.recv(65536)
                assert raw.count(b"Connection: keep-alive") == 9
        assert len(server.stored()) == 4 * 6


def test_a_kept_connection_gets_the_same_deadline_for_its_next_request(tmp_path: Path) -> None:
    with hasty(tmp_path) as server, connected(server, GET + GET[:30]) as made:
        answer = everything_from(made)
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert b"HTTP/1.1 408 " in answer


def test_a_client_that_goes_in_the_middle_leaves_nothing(tmp_path: Path) -> None:
    with small(tmp_path) as server:
        for sent in UNFINISHED.values():
            for half_closed in (True, False):
                with connected(server, sent) as made:
                    if half_closed:
                        made.shutdown(socket.SHUT_WR)
                        answer = everything_from(made)
                        assert answer == b"" or b" 400 " in answer, answer
        assert server.stored() == []
        assert health_seconds(server) < 0.5


def test_a_handshake_that_does_not_come_holds_no_thread(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    arguments = ["--certfile", str(certificate), "--keyfile", str(key)]
    with (
        Server(
            tmp_path,
            {"server": {"workers": 1, "max_clients": 10, "head_timeout": 1, "body_timeout": 1}},
            arguments=arguments,
            tls=True,
        ) as server,
        contextlib.ExitStack() as stack,
    ):
        hello = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        client = context.wrap_bio(*hello)
        with contextlib.suppress(ssl.SSLWantReadError):
            client.do_handshake()
        half = hello[1].read()[:50]
        silent = [
            stack.enter_context(connected(server, b"" if n % 2 else half)) for n in range(60)
        ]
        assert health_seconds(server) < 1
        for each in silent:
            everything_from(each)
        plain = socket.create_connection(("127.0.0.1", server.port), WAIT_SECONDS)
        with context.wrap_socket(plain) as kept:
            for _ in range(3):
                kept.sendall(WHOLE_POST)
                raw = b""
                while b'"ids"' not in raw:
                    raw += kept.recv(65536)
                assert raw.startswith(b"HTTP/1.1 201 ")
            kept.sendall(WHOLE_POST[:-5])
            everything_from(kept)


def test_a_server_that_stops_does_not_wait_for_unfinished_requests(
    tmp_path: Path, measured: Measured
) -> None:
    with contextlib.ExitStack() as stack, small(tmp_path) as server:
        for sent in [
            *UNFINISHED.values(),
            GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
        ]:
            for _ in range(3):
                stack.enter_context(connected(server, sent))
        assert health_seconds(server) < 0.5
        began = time.monotonic()
        server.terminate()
        wait_until(lambda: server.is_gone, "the server has ended")
        seconds = time.monotonic() - began
        measured("TERM beside 30 unfinished requests: gone after", f"{seconds:.1f} s")
        assert seconds < 3


def test_the_metrics_tell_what_was_ended(tmp_path: Path) -> None:
    with hasty(tmp_path) as server, connected(server, GET[:30]) as made:
        everything_from(made)
        server.wait_for_metrics({'sse_sink_connections_ended_total{reason="slow"}': 1.0})


def test_too_many_connections_cost_the_oldest_idle_one_its_place(tmp_path: Path) -> None:
    with small(tmp_path) as server, server.stream() as stream, contextlib.ExitStack() as stack:
        opened = [stack.enter_context(connected(server, GET[:20])) for _ in range(400)]
        assert health_seconds(server) < 0.5
        assert everything_from(opened[0]) == b""
        assert server.post({"event_type": "a.b"}) == [1]
        assert stream.message_id() == 1
        opened[-1].sendall(GET[20:])
        assert opened[-1].recv(65536).startswith(b"HTTP/1.1 200 ")
        assert "to make room" in server.log


def test_a_crowd_of_whole_requests_is_answered_to_the_last(tmp_path: Path) -> None:
    # Each is too large to wait for in memory, so that a thread reads it; 18 threads, 50 clients.
    body = json.dumps({"event_type": "a.b", "data": "x" * 100_000}).encode()
    request = POST + b"Content-Length: %d\r\n\r\n%b" % (len(body), body)
    with small(tmp_path) as server:
        for _ in range(5):
            with contextlib.ExitStack() as stack:
                opened = [stack.enter_context(connected(server)) for _ in range(50)]
                for made in opened:
                    # The kernel takes all of it at once: this client makes no breaks.
                    made.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2**20)
                    made.sendall(request)
                assert {made.recv(12) for made in opened} == {b"HTTP/1.1 201"}
        assert server.metrics().get('sse_sink_connections_ended_total{reason="crowded"}', 0) == 0


def test_a_worker_without_descriptors_goes_on(tmp_path: Path) -> None:
    def limited(port: int) -> list[str]:
        return ["sh", "-c", f"ulimit -n 300; exec {' '.join(gunicorn_command(tmp_path))}"]

    with Server(
        tmp_path, {"server": {"workers": 1, "max_clients": 10}}, command=limited
    ) as server:
        with contextlib.ExitStack() as stack:
            for _ in range(400):
                stack.enter_context(connected(server, GET[:20]))
            assert health_seconds(server) < 1
        assert health_seconds(server) < 1
        assert len(server.workers()) == 1
