"""How a request's body is read: streams as a server may hand them over."""

from __future__ import annotations

import gzip
import io
import json
import time
from typing import Any

import pytest
from flask import Flask, request
from werkzeug.test import EnvironBuilder, run_wsgi_app

from flask_sse_sink.extension import runtime_of
from support.apps import MakeApp

LIMIT = 2**20
NDJSON = "application/x-ndjson"
EVENT = b'{"event_type":"a"}\n'


class _Input:
    """A server's stream that raises, or answers with these parts and then with nothing."""

    def __init__(self, *answers: bytes | Exception) -> None:
        self._answers = list(answers)
        self.asked: list[int] = []

    def read(self, size: int = -1) -> bytes:
        self.asked.append(size)
        answer = self._answers.pop(0) if self._answers else b""
        if isinstance(answer, Exception):
            raise answer
        return answer


class _RawInput(_Input, io.RawIOBase):
    """The same, as Werkzeug's own reader of chunks is."""

    def readinto(self, buffer: Any) -> int:
        answer = self.read(len(buffer))
        buffer[: len(answer)] = answer
        return len(answer)


def post_stream(app: Flask, stream: _Input, **environ: Any) -> tuple[int, dict[str, Any]]:
    builder = EnvironBuilder(method="POST", path="/ingest", content_type=NDJSON)
    whole = {**builder.get_environ(), "wsgi.input": stream, **environ}
    whole = {name: value for name, value in whole.items() if value is not None}
    parts, status, _ = run_wsgi_app(app, whole)
    return int(status.split()[0]), json.loads(b"".join(parts))


def test_a_body_that_comes_too_slowly_is_a_408(make_app: MakeApp) -> None:
    app = make_app()
    for environ in ({"CONTENT_LENGTH": "38"}, {"wsgi.input_terminated": True}):
        stream = _Input(EVENT, TimeoutError("timed out"))
        status, answer = post_stream(app, stream, **{"CONTENT_LENGTH": None, **environ})
        assert (status, answer["title"]) == (408, "Request timeout")
        assert "send it again" in answer["detail"]
    assert runtime_of(app).log.head() == 0


def test_any_other_error_of_the_servers_is_a_400(make_app: MakeApp) -> None:
    app = make_app()
    for error in (OSError("a secret"), Exception("a secret"), ValueError("a secret"), EOFError()):
        status, answer = post_stream(app, _Input(EVENT, error), CONTENT_LENGTH="38")
        assert (status, answer["title"]) == (400, "Incomplete request")
        assert "secret" not in answer["detail"]
    assert runtime_of(app).log.head() == 0


def test_an_input_without_an_end_is_read_up_to_the_content_length_only(make_app: MakeApp) -> None:
    app = make_app()
    stream = _Input(EVENT[:5], EVENT[5:], AssertionError("read beyond the body"))
    assert post_stream(app, stream, CONTENT_LENGTH=str(len(EVENT)))[0] == 201
    assert stream.asked == [len(EVENT), len(EVENT) - 5]
    stream = _Input(AssertionError("read a body that there isn't"))
    assert post_stream(app, stream, CONTENT_LENGTH=None)[0] == 422
    status, answer = post_stream(
        app, stream, CONTENT_LENGTH=None, HTTP_TRANSFER_ENCODING="chunked"
    )
    assert (status, answer["title"]) == (411, "Length required")
    assert stream.asked == []


@pytest.mark.parametrize("how", ["get_data", "form", "stream"])
def test_a_hook_that_reads_the_body_first_is_no_hindrance(make_app: MakeApp, how: str) -> None:
    app = make_app(ingest={"max_body": 100})
    seen: list[bytes] = []

    @app.before_request
    def look() -> None:
        if how == "get_data":
            seen.append(request.get_data())
        else:
            getattr(request, how)

    @app.after_request
    def look_again(response: Any) -> Any:
        seen.append(request.get_data())
        return response

    client = app.test_client()
    assert client.post("/ingest", data=EVENT, content_type=NDJSON).status_code == 201
    assert seen[-1] == EVENT
    assert client.post("/ingest", data=EVENT * 9, content_type=NDJSON).status_code == 413
    short = {"CONTENT_LENGTH": "50", "wsgi.input_terminated": True}
    assert post_stream(app, _RawInput(EVENT), **short)[0] == 400
    endless = {"CONTENT_LENGTH": None, "wsgi.input_terminated": True}
    assert post_stream(app, _RawInput(EVENT * 9), **endless)[0] == 413
    app.config["MAX_CONTENT_LENGTH"] = len(EVENT)
    assert post_stream(app, _RawInput(EVENT, EVENT), **endless)[0] == 413
    assert runtime_of(app).log.head() == 1


def test_a_hook_may_read_the_body_afterwards(make_app: MakeApp) -> None:
    app = make_app()
    seen: list[bytes] = []

    @app.after_request
    def look(response: Any) -> Any:
        seen.append(request.get_data())
        return response

    stream = _Input(EVENT, AssertionError("read again"))
    assert post_stream(app, stream, CONTENT_LENGTH=str(len(EVENT)))[0] == 201
    assert seen == [EVENT]


def test_many_small_parts_of_gzip_take_no_longer_than_one(make_app: MakeApp) -> None:
    app = make_app()
    body = gzip.compress(b"") * (LIMIT // 20 - 10) + gzip.compress(EVENT)
    began = time.process_time()
    response = app.test_client().post(
        "/ingest", data=body, content_type=NDJSON, headers={"Content-Encoding": "gzip"}
    )
    assert response.status_code == 201
    assert time.process_time() - began < 2
