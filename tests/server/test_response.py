"""What the app may do with the response of a stream, and what it is told where it may not."""

from __future__ import annotations

import http.client
from pathlib import Path

import pytest

from support.theirs import NOTHING, Theirs
from support.waiting import WAIT_SECONDS

URL = "/events_stream/"

APP = """
@app.after_request
def touch(response):
    exec(request.args.get("do", "pass"))
    return response
"""

CURE = "begin the function (of after_request, say) with `if response.is_streamed: return response`"

REFUSED = [
    "response.get_data()",
    "response.get_data(as_text=True)",
    "response.data",
    "response.get_json(force=True)",
    "response.add_etag()",
    "response.add_etag(overwrite=True)",
    "response.make_sequence()",
    "response.freeze()",
    "response.stream.write(b'x')",
]

HARMLESS = [
    "response.calculate_content_length()",
    "response.make_conditional(request)",
    "response.make_conditional(request, accept_ranges=True)",
    "response.json",
    "response.is_streamed and response.is_sequence",
    "response.headers['X-Mine'] = 'a'; response.vary.add('Cookie')",
    "response.set_cookie('a', 'b')",
    "response.set_etag('a'); response.add_etag()",
    "response.last_modified = 0",
    "response.cache_control.no_store = True",
    "repr(response); str(response.content_length); response.get_etag()",
    "response.get_wsgi_headers(request.environ)",
    "response.call_on_close(lambda: None)",
    "response.direct_passthrough = False",
]


def ask(server: Theirs, do: str) -> tuple[int, bytes]:
    made = http.client.HTTPConnection("127.0.0.1", server.port, timeout=WAIT_SECONDS)
    made.request("GET", f"{URL}?do={do.replace(' ', '%20')}")
    answer = made.getresponse()
    body = answer.read()
    made.close()
    return answer.status, body


def test_what_would_read_a_stream_whole_is_refused_with_the_cure(tmp_path: Path) -> None:
    with Theirs(tmp_path, APP, {"server": {"max_clients": 3}}) as server:
        for do in REFUSED:
            told = server.log.count(CURE)
            assert ask(server, do)[0] == 500, do
            assert server.log.count(CURE) > told, do
            assert server.state() == NOTHING, do


def test_what_is_harmless_works_on_a_stream(tmp_path: Path, both_ways: str) -> None:
    with Theirs(tmp_path, APP) as server:
        for do in HARMLESS:
            with server.stream(f"?do={do.replace(' ', '%20')}") as stream:
                ids = [server.post({"event_type": "a"})[0] for _ in range(3)]
                assert stream.ids_until(ids[-1]) == ids, do
                assert "content-length" not in stream.head
        server.wait_for_nothing()
    assert "Traceback" not in server.log, server.log


def test_a_condition_that_a_stream_can_not_meet_is_answered_without_a_place(
    tmp_path: Path,
) -> None:
    """An app that gives every response an ETag of its own gets what it asks for."""
    with Theirs(tmp_path, APP) as server:
        made = http.client.HTTPConnection("127.0.0.1", server.port, timeout=WAIT_SECONDS)
        do = "response.set_etag('a');response.make_conditional(request)"
        made.request("GET", f"{URL}?do={do}", headers={"If-None-Match": '"a"'})
        answer = made.getresponse()
        assert (answer.status, answer.read()) == (304, b"")
        made.close()
        server.wait_for_nothing()


CHANGED = "streams are changed on their way to the server"


def test_compression_is_told_once_with_the_cure(tmp_path: Path, both_ways: str) -> None:
    """Flask-Compress, told to compress event streams, which it doesn't by itself."""
    source = """
from flask_compress import Compress

app.config["COMPRESS_MIMETYPES"] = ["text/event-stream"]
Compress(app)
"""
    with Theirs(tmp_path, source) as server:
        for _ in range(3):
            made = http.client.HTTPConnection("127.0.0.1", server.port, timeout=WAIT_SECONDS)
            made.request("GET", URL, headers={"Accept-Encoding": "deflate"})
            answer = made.getresponse()
            assert answer.headers["Content-Encoding"] == "deflate"
            answer.close()
            made.close()
        server.wait_for_nothing()
        assert server.log.count(CHANGED) == 1
        assert "with Flask-Compress, out of COMPRESS_MIMETYPES" in server.log


@pytest.mark.parametrize("kind", ["zip", "hold"])
def test_a_middleware_that_holds_the_first_bytes_back_is_told_once(
    tmp_path: Path, kind: str
) -> None:
    source = f"""
import itertools
import zlib


class Middleware:
    def __init__(self, inner):
        self.inner = inner

    def __call__(self, environ, start_response):
        if not environ["PATH_INFO"].startswith("/events_stream"):
            return self.inner(environ, start_response)
        return self.{kind}(environ, start_response)

    def zip(self, environ, start_response):
        def begin(status, headers, exc_info=None):
            return start_response(status, [*headers, ("Content-Encoding", "deflate")], exc_info)

        made = zlib.compressobj()
        for part in self.inner(environ, begin):
            yield made.compress(part)

    def hold(self, environ, start_response):
        inner = iter(self.inner(environ, start_response))
        while parts := list(itertools.islice(inner, 3)):
            yield b"".join(parts)


app.wsgi_app = Middleware(app.wsgi_app)
"""
    sink = {"heartbeat_timeout": "50ms"}
    with Theirs(tmp_path, source, {"sink": {"events_stream": sink}}) as server:
        for _ in range(3):
            made = http.client.HTTPConnection("127.0.0.1", server.port, timeout=WAIT_SECONDS)
            made.request("GET", URL)
            assert made.getresponse().read(1)
            made.close()
        server.wait_for_nothing()
        assert server.log.count(CHANGED) == 1


def test_an_untouched_stream_is_told_nothing_of(tmp_path: Path, both_ways: str) -> None:
    with Theirs(tmp_path, "") as server:
        with server.stream(), server.stream():
            server.post({"event_type": "a"})
        server.wait_for_nothing()
        assert CHANGED not in server.log
