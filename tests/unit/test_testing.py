"""What apps' own tests use: the fixture ``sse_events``, and ``SSEEvents`` behind it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask import Flask

from flask_sse_sink import InvalidEvent
from flask_sse_sink.config.databases import MEMORY_URL
from flask_sse_sink.testing import ReceivedFrame, SSEEvents
from support.apps import MakeApp

NEWS = {"news": {"type": "sse", "replay": True}, "closed": {"type": "sse", "access": "token"}}


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    return make_app(database={"url": MEMORY_URL}, sink=NEWS)


@pytest.fixture
def events(app: Flask) -> Iterator[SSEEvents]:
    with SSEEvents(app) as events:
        yield events


def test_what_is_published_meanwhile_is_collected_in_order(events: SSEEvents) -> None:
    with events.collect("/news/", 2) as collected:
        ids = [events.publish("a", {"n": 1}, entity_id="x"), events.publish("b")]
        assert collected == []
    assert [each["id"] for each in collected] == ids
    assert [each["event_type"] for each in collected] == ["a", "b"]
    assert collected[0]["data"] == {"n": 1}
    assert collected[0]["entity_id"] == "x"
    first, *messages, last = collected.frames
    assert (first.event, first.data) == ("info", "connected")
    assert [frame.id for frame in messages] == [str(id) for id in ids]
    assert last == ReceivedFrame("info", "closing", "")


def test_more_messages_than_asked_for_are_seen_too(events: SSEEvents) -> None:
    with events.collect("/news/", 1) as collected:
        for _ in range(3):
            events.publish("a")
    assert len(collected) == 3


def test_none_can_be_asked_for(events: SSEEvents) -> None:
    with events.collect("/news/?event_type=a", 0) as collected:
        events.publish("b")
    assert collected == []
    with events.collect("/news/?event_type=a", 0) as collected:
        events.publish("a")
    assert len(collected) == 1


def test_stored_events_are_collected(events: SSEEvents) -> None:
    events.publish("a")
    events.publish("b")
    with events.collect("/news/", 2, headers={"Last-Event-ID": "earliest"}) as collected:
        pass
    assert [each["event_type"] for each in collected] == ["a", "b"]


def test_a_message_that_does_not_come_is_told(events: SSEEvents) -> None:
    with (
        pytest.raises(AssertionError, match=r"/news/: 1 of 2 messages came before 0\.05 seconds"),
        events.collect("/news/", 2, timeout=0.05),
    ):
        events.publish("a")


def test_a_stream_that_ends_too_soon_is_told(app: Flask, events: SSEEvents) -> None:
    with (
        pytest.raises(AssertionError, match=r"0 of 1 messages came before the stream ended \("),
        events.collect("/news/"),
    ):
        events.__exit__(None, None, None)


@pytest.mark.parametrize(
    ("url", "status", "reason"),
    [
        ("/none/", 404, "Not Found"),
        ("/closed/", 401, "send the header"),
        ("/news/?last_event_id=x", 400, "no event's id"),
    ],
)
def test_a_refusal_is_told_with_its_reason(
    events: SSEEvents, url: str, status: int, reason: str
) -> None:
    with (
        pytest.raises(
            AssertionError, match=f"gave no stream but {status} [A-Z ]+: (?s:.*){reason}"
        ),
        events.collect(url),
    ):
        raise NotImplementedError


def test_an_error_of_the_test_is_not_hidden(events: SSEEvents) -> None:
    with pytest.raises(InvalidEvent), events.collect("/news/"):
        events.publish("a", entity_id=5)


def test_an_app_without_the_extension_is_told() -> None:
    with pytest.raises(RuntimeError, match="this app has no SSESink"):
        SSEEvents(Flask("plain"))


APP = """
import pytest
from flask import Flask
from flask_sse_sink import SSESink

@pytest.fixture
def app():
    app = Flask("theirs")
    config = {"database": {"url": "sqlite:///:memory:"}, "sink": {"news": {"type": "sse"}}}
    sse = SSESink(app, config)

    @app.post("/articles")
    def create():
        sse.publish("news.created", {"title": "Hello"})
        return "", 201

    return app
"""
TEST = """
def test_a_new_article_is_streamed(app, sse_events):
    with sse_events.collect("/news/?event_type=news.*", 1) as events:
        app.test_client().post("/articles")
    assert [event["data"] for event in events] == [{"title": "Hello"}]
"""


def test_the_plugin_gives_the_fixture(pytester: pytest.Pytester) -> None:
    pytester.makeconftest(APP)
    pytester.makepyfile(TEST)
    pytester.runpytest_subprocess("-W", "error").assert_outcomes(passed=1)


def test_the_plugin_says_what_is_missing(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_a(sse_events): pass")
    result = pytester.runpytest_subprocess()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["*sse_events needs a fixture 'app'*"])
