"""A real server writes events to its clients' sockets directly where that is safe."""

from __future__ import annotations

import http.client
import socket
import zlib
from pathlib import Path

from support.processes import flask_command, gunicorn_command
from support.server import Server
from support.waiting import WAIT_SECONDS

DELIVERIES = 'sse_sink_deliveries_total{{sink="events_stream",way="{}"}}'


def deliver(server: Server, way: str) -> None:
    """Check that what one client gets has come this way, and only this way."""
    other = {"direct": "queue", "queue": "direct"}[way]
    with server.stream() as stream:
        last = server.post([{"event_type": "a"}] * 3)[-1]
        assert stream.ids_until(last)[-1] == last
        # The first may come before the stream's thread has begun to wait.
        for _ in range(20):
            (last,) = server.post({"event_type": "a"})
            assert stream.message_id() == last
        metrics = server.metrics()
        assert metrics[DELIVERIES.format(way)] >= 20
        assert metrics[DELIVERIES.format(other)] <= (3 if way == "direct" else 0)


def test_gunicorn_sends_directly_unless_told_otherwise(tmp_path: Path, both_ways: str) -> None:
    with Server(tmp_path, {"server": {"workers": 1}}) as server:
        deliver(server, both_ways)


def test_flask_run_sends_through_the_queue(tmp_path: Path) -> None:
    with Server(tmp_path, command=flask_command) as server:
        deliver(server, "queue")


def read_by_hand(server: Server, made: socket.socket, request: bytes, count: int) -> None:
    """Publish so many events, and check that the stream on this connection has them."""
    with made.makefile("rb") as stream:
        made.sendall(request)
        while stream.readline() != b"data: connected\n":
            pass
        ids = [server.post({"event_type": "a"})[0] for _ in range(count)]
        found: list[int] = []
        while len(found) < count:
            line = stream.readline()
            if line.startswith(b"id: "):
                found.append(int(line[4:]))
        assert found == ids


def test_a_client_of_http_1_0_is_sent_to_through_the_queue(tmp_path: Path) -> None:
    with Server(tmp_path, {"server": {"workers": 1}}) as server:
        with socket.create_connection(("127.0.0.1", server.port), WAIT_SECONDS) as made:
            read_by_hand(server, made, b"GET /events_stream/ HTTP/1.0\r\n\r\n", 5)
        assert server.metrics()[DELIVERIES.format("direct")] == 0


def test_a_unix_socket_is_sent_to_directly(tmp_path: Path) -> None:
    def command(port: int) -> list[str]:
        binds = ("--bind", f"127.0.0.1:{port}", "--bind", f"unix:{tmp_path / 'socket'}")
        return gunicorn_command(tmp_path, *binds)

    with Server(tmp_path, {"server": {"workers": 1}}, command=command) as server:
        with socket.socket(socket.AF_UNIX) as made:
            made.settimeout(WAIT_SECONDS)
            made.connect(str(tmp_path / "socket"))
            read_by_hand(server, made, b"GET /events_stream/ HTTP/1.1\r\nHost: a\r\n\r\n", 20)
            assert server.metrics()[DELIVERIES.format("direct")] >= 17


GZIP = '''
import zlib

from wsgi import app as inner


def app(environ, start_response):
    """Compress every stream, flushing after each part."""

    def begin(status, headers, exc_info=None):
        return start_response(status, [*headers, ("Content-Encoding", "gzip")], exc_info)

    if not environ["PATH_INFO"].startswith("/events_stream"):
        return inner(environ, start_response)
    parts = inner(environ, begin)

    def compressed():
        made = zlib.compressobj(wbits=31)
        try:
            for part in parts:
                yield made.compress(part) + made.flush(zlib.Z_SYNC_FLUSH)
        finally:
            parts.close()

    return compressed()
'''


def test_what_a_middleware_compresses_is_never_written_to_directly(tmp_path: Path) -> None:
    (tmp_path / "compressed.py").write_text(GZIP)

    def command(port: int) -> list[str]:
        return [*gunicorn_command(tmp_path)[:-1], "--pythonpath", str(tmp_path), "compressed:app"]

    with Server(tmp_path, {"server": {"workers": 1}}, command=command) as server:
        made = http.client.HTTPConnection("127.0.0.1", server.port, timeout=WAIT_SECONDS)
        made.request("GET", "/events_stream/")
        answer = made.getresponse()
        unpack = zlib.decompressobj(wbits=31)
        text = unpack.decompress(answer.read1())
        ids = [server.post({"event_type": "a"})[0] for _ in range(20)]
        while b"id: %d\n" % ids[-1] not in text:
            text += unpack.decompress(answer.read1())
        assert [b"id: %d\n" % id in text for id in ids] == [True] * 20
        assert text.count(b"event: message\n") == 20
        assert server.metrics()[DELIVERIES.format("direct")] == 0
        made.close()
