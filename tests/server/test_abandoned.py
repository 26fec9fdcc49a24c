"""Streams whose responses go astray in an app of others hold no place, over real gunicorn."""

from __future__ import annotations

import http.client
import socket
from pathlib import Path

import pytest

from support.processes import free_port
from support.theirs import NOTHING, Theirs
from support.waiting import WAIT_SECONDS

APP = """
runtime_of(app).admission.begin_seconds = 1.0
kept = []


@app.after_request
def replace(response):
    do = request.args.get("do")
    if do == "raise":
        raise ValueError("no")
    if do == "abort":
        abort(403)
    if do == "other":
        return Response("no", 403)
    if do == "text":
        response.set_data("no")
        response.status_code = 403
    if do == "list":
        response.response = [b"no"]
        response.status_code = 403
    if do == "empty":
        response.status_code = 204
    if do == "keep":
        kept.append(response)
        return Response("no", 403)
    if do == "passthrough":
        response.direct_passthrough = True
    if do == "wrap":
        return Response(response.response, headers=response.headers)
    if do == "generator":
        response.response = passed(response.response)
    return response


def passed(parts):
    for part in parts:
        yield part


class Middleware:
    def __init__(self, inner):
        self.inner = inner

    def __call__(self, environ, start_response):
        if "do=middleware" in environ["QUERY_STRING"]:
            return self.generator(environ, start_response)
        if "do=instead" in environ["QUERY_STRING"]:
            self.inner(environ, lambda *_: None)
            start_response("403 Forbidden", [("Content-Length", "2")])
            return [b"no"]
        return self.inner(environ, start_response)

    def generator(self, environ, start_response):
        yield from self.inner(environ, start_response)


app.wsgi_app = Middleware(app.wsgi_app)
"""

REFUSALS = {
    "raise": 500,
    "abort": 500,
    "other": 403,
    "text": 403,
    "list": 403,
    "empty": 204,
    "instead": 403,
    "keep": 403,
}


def status(server: Theirs, path: str, method: str = "GET") -> int:
    made = http.client.HTTPConnection("127.0.0.1", server.port, timeout=WAIT_SECONDS)
    made.request(method, path)
    answer = made.getresponse()
    answer.read()
    made.close()
    return answer.status


@pytest.mark.parametrize("do", REFUSALS)
def test_twenty_refusals_of_twenty_keep_no_place(tmp_path: Path, do: str) -> None:
    with Theirs(tmp_path, APP) as server:
        found = [status(server, f"/events_stream/?do={do}") for _ in range(20)]
        assert found == [REFUSALS[do]] * 20
        # With "keep", nobody can tell that it won't be sent until it has not been for a second.
        server.wait_for_nothing()
        told = server.log.count("nobody asked for its first bytes within 1 s")
        assert told == (1 if do == "keep" else 0)
        server.all_places_are_free()


def test_head_takes_no_place(tmp_path: Path) -> None:
    with Theirs(tmp_path, APP) as server:
        assert [status(server, "/events_stream/", "HEAD") for _ in range(25)] == [200] * 25
        assert server.state() == NOTHING


@pytest.mark.once
@pytest.mark.parametrize("do", ["passthrough", "wrap", "generator", "middleware"])
@pytest.mark.parametrize("ended_by", ["peer", "server"])
def test_what_goes_out_another_way_streams_and_ends_like_the_others(
    tmp_path: Path, do: str, ended_by: str, both_ways: str
) -> None:
    source = f"""{APP}
@app.post("/end")
def end():
    return str(runtime_of(app).end_streams())
"""
    with Theirs(tmp_path, source) as server:
        for _ in range(3):
            streams = [server.stream(f"?do={do}") for _ in range(7)]
            ids = [server.post({"event_type": "a"})[0] for _ in range(3)]
            for stream in streams:
                assert stream.ids_until(ids[-1]) == ids
            assert server.state()["counted"] == 7
            if ended_by == "server":
                assert status(server, "/end", "POST") == 200
                for stream in streams:
                    found = stream.next()
                    assert (found.event, found.data) == ("info", "closing")
                    with pytest.raises(EOFError):
                        stream.next()
            for stream in streams:
                stream.close()
            server.wait_for_nothing()
    assert "Traceback" not in server.log, server.log


def test_a_session_that_can_not_be_saved_keeps_no_place(tmp_path: Path) -> None:
    """Flask-Session, whose Redis is away and comes back."""
    port = free_port()
    source = f"""
import redis
from flask import session
from flask_session import Session

app.config["SESSION_TYPE"] = "redis"
app.config["SESSION_REDIS"] = redis.Redis(port={port}, retry=None)
Session(app)


@app.before_request
def visit():
    if request.path != "/state":
        session["visited"] = True
"""
    with Theirs(tmp_path, source) as server:
        for _ in range(20):
            assert status(server, "/events_stream/") == 500
        assert server.state() == NOTHING
        assert "redis.exceptions.ConnectionError" in server.log


def test_a_connection_that_goes_on_after_a_forgotten_stream_is_not_cut(tmp_path: Path) -> None:
    """A middleware that never closes what it passes on: the next request is on its way."""
    source = f"""{APP}
@app.post("/end")
def end():
    return str(runtime_of(app).end_streams())
"""
    with Theirs(tmp_path, source) as server:
        with socket.create_connection(("127.0.0.1", server.port), WAIT_SECONDS) as made:
            reader = made.makefile("rb")
            for _ in range(10):
                target = b"/events_stream/?do=middleware"
                made.sendall(b"GET %b HTTP/1.1\r\nHost: localhost\r\n\r\n" % target)
                while reader.readline() != b"data: connected\n":
                    pass
                assert status(server, "/end", "POST") == 200
                while reader.readline() != b"0\r\n":
                    pass
                assert reader.readline() == b"\r\n"
            reader.close()
        server.wait_for_nothing()
