"""The class of a stream's response."""

from __future__ import annotations

import pytest
from flask import Response

from flask_sse_sink.extension import runtime_of
from flask_sse_sink.stream.response import EndlessStream, stream_response_class
from support.apps import MakeApp

URL = "/events_stream/"


def test_an_apps_own_class_of_responses_is_kept_and_refuses_the_same(make_app: MakeApp) -> None:
    class Mine(Response):
        mine = True

    app = make_app()
    app.response_class = Mine
    with app.test_request_context(URL):
        response = app.full_dispatch_request()
    assert isinstance(response, Mine)
    with pytest.raises(EndlessStream):
        response.get_data()
    response.close()
    assert runtime_of(app).admission.taken == 0


def test_a_stream_that_was_replaced_by_a_text_is_a_response_like_others(make_app: MakeApp) -> None:
    app = make_app()
    with app.test_request_context(URL):
        response = app.full_dispatch_request()
    assert runtime_of(app).admission.taken == 1
    response.data = "[1]"
    assert runtime_of(app).admission.taken == 0
    response.add_etag()
    assert (response.data, response.content_length, response.get_json(force=True)) == (
        *(b"[1]", 3),
        [1],
    )
    response.freeze()
    assert response.is_sequence


def test_a_response_of_bytes_can_be_made_of_the_same_class() -> None:
    assert stream_response_class(Response)(b"a").get_data() == b"a"
