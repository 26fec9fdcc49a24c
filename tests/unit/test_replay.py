"""Clients that come back to a sink with replay, and what they are told where events are gone."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from hypothesis import example, given
from hypothesis import strategies as st

from flask_sse_sink.config.values import Pause, ReplayBound
from flask_sse_sink.exceptions import LogUnavailable
from flask_sse_sink.extension import runtime_of
from flask_sse_sink.filters import EVERYTHING, parse
from flask_sse_sink.log import indexes
from flask_sse_sink.log.protocol import iso, now_us
from flask_sse_sink.log.sqlite import matching
from flask_sse_sink.log.sqlite.log import SQLiteLog
from flask_sse_sink.runtime import Runtime
from flask_sse_sink.stream import frame
from flask_sse_sink.stream.client import Client
from flask_sse_sink.stream.membership import Membership
from flask_sse_sink.stream.replay import Replay
from flask_sse_sink.stream.settings import SSESettings
from flask_sse_sink.stream.since import parse_since
from flask_sse_sink.stream.subscribers import Subscribers
from flask_sse_sink.stream.subscription import ResumePosition, parse_position
from flask_sse_sink.submission import new_event
from support.apps import Listen, MakeApp, publish
from support.chunks import MEMORY, ids_in
from support.sessions import session
from support.stream import AppStream
from support.waiting import wait_until

FAR = 2**62


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    return make_app(sink={"events_stream": {"type": "sse", "replay": True}})


@pytest.fixture
def runtime(app: Flask) -> Runtime:
    return runtime_of(app)


def follow(app: Flask, query: str = "", header: str | None = None) -> AppStream:
    """Open a stream, with its first frame still to be read."""
    headers = {} if header is None else {"Last-Event-ID": header}
    response = app.test_client().get(f"/events_stream/?{query}", headers=headers, buffered=False)
    assert response.status_code == 200, response.text
    return AppStream(response)


def ids(stream: AppStream, count: int) -> list[int]:
    return [stream.event()["id"] for _ in range(count)]


def connected(id: int | None = None) -> bytes:
    line = b"" if id is None else b"id: %d\n" % id
    return b"event: info\n" + line + b"data: connected\nretry: 3000\n\n"


def missed(stream: AppStream) -> tuple[int, dict[str, Any]]:
    """Return the id and what is known of the notice that must come next."""
    head, id, data = stream.frame().decode().removesuffix("\n\n").split("\n")
    assert head == "event: info"
    return int(id.removeprefix("id: ")), json.loads(data.removeprefix("data: missed "))


@pytest.mark.parametrize(
    ("header", "query", "expected"),
    [
        (None, None, None),
        ("", "", None),
        (" ", None, None),
        ("7", None, ResumePosition(7)),
        (None, "7", ResumePosition(7)),
        ("7", "8", ResumePosition(7)),
        ("", "8", ResumePosition(8)),
        (" 7 ", None, ResumePosition(7)),
        ("0", None, ResumePosition(0)),
        ("007", None, ResumePosition(7)),
        (str(2**63 - 1), None, ResumePosition(2**63 - 1)),
        ("earliest", None, ResumePosition(0, earliest=True)),
        (None, "earliest", ResumePosition(0, earliest=True)),
    ],
)
def test_an_id_is_read(
    header: str | None, query: str | None, expected: ResumePosition | None
) -> None:
    assert parse_position(header, query) == expected


@pytest.mark.parametrize(
    "text", ["x", "-1", "1.0", "1e3", "+1", "0x1", "1 2", "٣", "²", "latest", str(2**63), "9" * 40]
)
def test_what_is_no_id_is_refused_with_a_cure(text: str) -> None:
    with pytest.raises(ValueError, match="is no event's id; send the id of the last event"):
        parse_position(text, None)


@given(st.text())
def test_no_text_is_read_as_anything_else(text: str) -> None:
    try:
        asked = parse_position(text, None)
    except ValueError:
        return
    assert asked is None or asked.earliest or int(text) == asked.id


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10m", 600),
        (" 10m ", 600),
        ("1h 30m", 5400),
        ("500ms", 0.5),
        ("600", 600),
        ("1.5", 1.5),
        ("2 days", 172800),
        ("0s", 0),
    ],
)
def test_an_interval_ends_now(text: str, seconds: float) -> None:
    before = now_us()
    since = parse_since(text)
    # To a microsecond: it is rounded.
    assert before - 1 <= since + seconds * 1e6 <= now_us() + 1


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-25T10:00:00Z", "2026-11-25T10:00:00+00:00"),
        ("2026-11-25T10:00:00.000001+00:00", "2026-11-25T10:00:00.000001+00:00"),
        ("2026-11-25T10:00:00", "2026-11-25T10:00:00+00:00"),
        ("2026-11-25 10:00", "2026-11-25T10:00:00+00:00"),
        ("2026-11-25T10:00", "2026-11-25T10:00:00+00:00"),
        ("2026-11-25", "2026-11-25T00:00:00+00:00"),
        ("2026-11-25T12:00:00+02:00", "2026-11-25T10:00:00+00:00"),
        ("2026-11-25T12:00:00 02:00", "2026-11-25T10:00:00+00:00"),
        ("2026-11-25T12:00 02:00", "2026-11-25T10:00:00+00:00"),
        ("2026-11-25 12:00 02:00", "2026-11-25T10:00:00+00:00"),
        ("2026-11-25T12:00:00.5 0200", "2026-11-25T10:00:00.500000+00:00"),
        ("2026-11-25T12:00:00 02", "2026-11-25T10:00:00+00:00"),
        ("20261125T120000 0200", "2026-11-25T10:00:00+00:00"),
        ("2026-11-25T07:30:00-02:30", "2026-11-25T10:00:00+00:00"),
        ("0001-01-01T00:00:00+14:00", "0001-01-01T00:00:00+14:00"),
        ("9999-12-31T23:59:59-14:00", "9999-12-31T23:59:59-14:00"),
    ],
)
def test_a_time_is_read(text: str, expected: str) -> None:
    time = datetime.fromisoformat(expected)
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    assert parse_since(text) == (time - epoch) // timedelta(microseconds=1)


@pytest.mark.parametrize(
    "text",
    [
        "x",
        "",
        "-10m",
        "-1",
        "yesterday",
        "10:99:99Z",
        "2026-13-01",
        "2026-11-25T25:00",
        "2026-11-25T10:00:00 02:00 03:00",
        "inf",
        "nan",
        "1e300",
        "9" * 40,
        "201 years",
        "earliest",
    ],
)
def test_what_is_no_time_is_refused_with_a_cure(text: str) -> None:
    with pytest.raises(ValueError, match="is no time; write how long ago it was"):
        parse_since(text)


@example("0\n0")
@given(st.text() | st.text("0123456789-:TZ+ .hmsd"))
def test_every_text_is_a_time_or_refused(text: str) -> None:
    try:
        time = parse_since(text)
    except ValueError:
        return
    assert abs(time) < 2**62


@pytest.mark.parametrize("text", ["x", "-10m", "2026-11-25T25:00"])
def test_what_is_no_time_is_a_400(app: Flask, text: str) -> None:
    for answer in (
        app.test_client().get("/events_stream/", query_string={"since": text}),
        app.test_client().head("/events_stream/", query_string={"since": text}),
    ):
        assert answer.status_code == 400
        assert answer.content_type == "application/problem+json"
    problem = app.test_client().get("/events_stream/", query_string={"since": text}).json
    assert problem is not None and problem["title"] == "Malformed since"
    assert "e.g. `2026-11-25T10:00:00Z`" in problem["detail"]


@pytest.fixture
def between(app: Flask) -> int:
    """Publish events 1 to 3, and 4 and 5 later; return a time between, in microseconds."""
    publish(app, "a", "b", "a")
    time.sleep(0.002)
    between = now_us()
    time.sleep(0.002)
    publish(app, "a", "b")
    return between


def test_the_events_since_a_time_come_and_then_the_live_ones(app: Flask, between: int) -> None:
    for query, first in (
        (f"since={iso(between)}", 4),
        (f"since={iso(between).replace('+', '%2B')}", 4),
        (f"since={iso(between).replace('+00:00', 'Z')}", 4),
        (f"since={iso(between)}&last_event_id=&lastEventId=%20", 4),
        ("since=10m", 1),
        ("since=&since=x", 6),
        ("since=10m&last_event_id=2", 3),
        ("since=x&last_event_id=2", 3),
        ("since=10m&lastEventId=2", 3),
        ("since=0s&last_event_id=earliest", 1),
    ):
        stream = follow(app, query)
        assert stream.frame() == connected(5 if first == 6 else None), query
        assert ids(stream, 6 - first) == list(range(first, 6))
        stream.close()
    stream = follow(app, f"since={iso(between)}&event_type=b")
    assert stream.frame() == connected()
    assert ids(stream, 1) == [5]
    publish(app, "a", "b")
    assert ids(stream, 1) == [7]
    stream.close()


def test_the_header_of_a_client_that_comes_back_wins_over_since(app: Flask, between: int) -> None:
    stream = follow(app, "since=10m", "4")
    assert stream.frame() == connected()
    assert ids(stream, 1) == [5]
    stream.close()


@pytest.mark.parametrize("since", ["0s", "2999-01-01", "2999-01-01T00:00:00+02:00"])
def test_nothing_is_replayed_since_a_time_in_the_future(
    app: Flask, between: int, since: str
) -> None:
    stream = follow(app, f"since={since}")
    assert stream.frame() == connected()
    publish(app, "c")
    assert ids(stream, 1) == [6]
    stream.close()


def test_since_does_not_tell_of_what_is_no_longer_kept(app: Flask, runtime: Runtime) -> None:
    publish(app, *"abcde")
    runtime.log.prune(FAR, 3)
    stream = follow(app, "since=2020-01-01")
    assert stream.frame() == connected()
    assert ids(stream, 2) == [4, 5]
    stream.close()


def test_since_goes_no_further_back_than_the_sink_replays(make_app: MakeApp) -> None:
    app = make_app(sink={"events_stream": {"type": "sse", "replay": 2}})
    publish(app, *"abcde")
    runtime_of(app).log.prune(FAR, 1)
    stream = follow(app, "since=10m")
    assert stream.frame() == connected()
    told = {"count": 2, "first_id": 2, "last_id": 3, "reason": "beyond_replay"}
    assert missed(stream) == (3, told)
    assert ids(stream, 2) == [4, 5]
    stream.close()


def test_since_is_ignored_without_replay(make_app: MakeApp, listen: Listen) -> None:
    app = make_app()
    publish(app, "a")
    stream = follow(app, "since=x")
    assert stream.frame() == connected()
    publish(app, "b")
    assert stream.types(1) == ["b"]
    stream.close()


def test_what_is_no_id_is_a_400(app: Flask) -> None:
    client = app.test_client()
    for answer in (
        client.get("/events_stream/", headers={"Last-Event-ID": "x"}),
        client.get("/events_stream/?last_event_id=-1"),
        client.head("/events_stream/?last_event_id=x"),
    ):
        assert answer.status_code == 400
        assert answer.content_type == "application/problem+json"
    # The header wins: what else stands there isn't looked at.
    stream = follow(app, "last_event_id=x", "0")
    assert stream.frame() == connected()
    stream.close()


def test_a_sink_without_replay_ignores_it_all(make_app: MakeApp, listen: Listen) -> None:
    app = make_app()
    publish(app, "a", "b")
    client = app.test_client()
    answer = client.get("/events_stream/", headers={"Last-Event-ID": "x"}, buffered=False)
    stream = AppStream(answer)
    assert "Sse-Sink-Log" not in answer.headers
    assert stream.frame() == connected()
    publish(app, "c")
    assert stream.types(1) == ["c"]
    stream.close()


def test_who_asks_for_nothing_gets_live_events_and_its_place(app: Flask) -> None:
    publish(app, "a", "b")
    stream = follow(app)
    assert stream.frame() == connected(2)
    publish(app, "c")
    assert stream.types(1) == ["c"]
    stream.close()


@pytest.mark.parametrize("way", ["header", "query"])
def test_what_was_missed_comes_and_then_the_live_events(app: Flask, way: str) -> None:
    publish(app, "a", "b", "c")
    stream = follow(app, header="1") if way == "header" else follow(app, "last_event_id=1")
    assert stream.frame() == connected()
    assert ids(stream, 2) == [2, 3]
    publish(app, "d")
    assert ids(stream, 1) == [4]
    stream.close()


@pytest.mark.parametrize(
    ("query", "header", "first"),
    [
        ("lastEventId=2", None, 3),
        ("lastEventID=2", None, 3),
        ("Last-Event-ID=2", None, 3),
        ("Last-Event-ID=4&lastEventID=3&lastEventId=2&last_event_id=1", None, 2),
        ("Last-Event-ID=4&lastEventID=3&lastEventId=2", None, 3),
        ("Last-Event-ID=4&lastEventID=3", None, 4),
        ("Last-Event-ID=3&lastEventID=&lastEventId=%20&last_event_id=", None, 4),
        ("lastEventId=x&last_event_id=1", None, 2),
        ("lastEventId=3", "1", 2),
        ("lastEventId=3", "", 4),
    ],
)
def test_the_last_id_is_taken_under_the_names_that_libraries_send(
    app: Flask, query: str, header: str | None, first: int
) -> None:
    publish(app, "a", "b", "c", "d", "e")
    stream = follow(app, query, header)
    assert stream.frame() == connected()
    assert ids(stream, 6 - first) == list(range(first, 6))
    stream.close()


@pytest.mark.parametrize("name", ["lastEventId", "lastEventID", "Last-Event-ID"])
def test_what_is_no_id_under_another_name_is_a_400(app: Flask, name: str) -> None:
    answer = app.test_client().get(f"/events_stream/?{name}=x")
    assert answer.status_code == 400
    assert "is no event's id" in answer.get_json(force=True)["detail"]


def test_a_replayed_frame_is_the_one_that_was_streamed(app: Flask) -> None:
    live = follow(app)
    live.frame()
    event = new_event("a.ü", {"n": 1.50, "s": "\u2028\n\x7f"}, entity_id='"', meta={"m": [1]})
    runtime_of(app).publish([event])
    streamed = live.frame()
    again = follow(app, "last_event_id=earliest")
    assert again.frame() == connected()
    assert again.frame() == streamed
    live.close()
    again.close()


def test_match_and_event_type_both_hold(make_app: MakeApp) -> None:
    sink = {"type": "sse", "replay": True, "match": ["a.*", "b"]}
    app = make_app(sink={"events_stream": sink})
    publish(app, "a.x", "b", "c", "a.y", "a.x.z")
    for query, expected in (
        ("", [1, 2, 4, 5]),
        ("&event_type=a.x", [1]),
        ("&event_type=a.x.*,c", [5]),
        ("&event_type=c", []),
    ):
        stream = follow(app, f"last_event_id=0{query}")
        assert stream.frame() == connected()
        assert ids(stream, len(expected)) == expected
        stream.close()


def test_all_that_is_kept(app: Flask, runtime: Runtime) -> None:
    publish(app, "a", "b", "c")
    runtime.log.prune(FAR, 1)
    stream = follow(app, "last_event_id=earliest")
    assert stream.frame() == connected()
    assert ids(stream, 2) == [2, 3]
    stream.close()
    # Who counts from 0 may have been there then: it is told.
    stream = follow(app, "last_event_id=0")
    assert stream.frame() == connected()
    expected = {"count": 1, "first_id": 1, "last_id": 1, "reason": "pruned"}
    assert missed(stream) == (1, expected)
    assert ids(stream, 2) == [2, 3]
    stream.close()


def test_an_id_that_is_pruned_is_told(app: Flask, runtime: Runtime) -> None:
    publish(app, *"abcde")
    runtime.log.prune(FAR, 3)
    stream = follow(app, header="1")
    assert stream.frame() == connected()
    assert missed(stream) == (3, {"count": 2, "first_id": 2, "last_id": 3, "reason": "pruned"})
    assert ids(stream, 2) == [4, 5]
    stream.close()
    # Of how many its filter would have let through, nothing is known.
    stream = follow(app, "event_type=e", "1")
    assert stream.frame() == connected()
    told = {"count": None, "first_id": 2, "last_id": 3, "reason": "pruned"}
    assert missed(stream) == (3, told)
    assert ids(stream, 1) == [5]
    stream.close()


@pytest.mark.parametrize(("header", "expected"), [("3", [4, 5]), ("4", [5]), ("5", [])])
def test_nothing_is_told_where_nothing_is_gone(
    app: Flask, runtime: Runtime, header: str, expected: list[int]
) -> None:
    publish(app, *"abcde")
    runtime.log.prune(FAR, 3)
    stream = follow(app, header=header)
    assert stream.frame() == connected()
    assert ids(stream, len(expected)) == expected
    publish(app, "f")
    assert ids(stream, 1) == [6]
    stream.close()


def test_an_id_from_the_future_is_of_another_log(app: Flask) -> None:
    publish(app, "a", "b")
    stream = follow(app, header="1000")
    assert stream.frame() == connected()
    told = {"count": None, "first_id": None, "last_id": None}
    assert missed(stream) == (0, {**told, "reason": "unknown_id", "asked": 1000, "head": 2})
    assert ids(stream, 2) == [1, 2]
    publish(app, "c")
    assert ids(stream, 1) == [3]
    stream.close()


def test_who_says_which_log_it_read_is_told_of_another(app: Flask) -> None:
    publish(app, "a", "b")
    head = app.test_client().head("/events_stream/")
    identity = head.headers["Sse-Sink-Log"]
    stream = follow(app, f"log={identity}&last_event_id=1")
    assert stream.response.headers["Sse-Sink-Log"] == identity
    assert stream.frame() == connected()
    assert ids(stream, 1) == [2]
    stream.close()
    stream = follow(app, "log=0123456789abcdef", "1")
    assert stream.frame() == connected()
    told = {"count": None, "first_id": None, "last_id": None}
    assert missed(stream) == (0, {**told, "reason": "other_log", "asked": 1, "head": 2})
    assert ids(stream, 2) == [1, 2]
    stream.close()


def test_a_log_that_was_made_anew_has_another_identity(tmp_path: Path) -> None:
    found = set()
    for name in ("one", "two"):
        log = SQLiteLog(tmp_path / name)
        found.add(log.identity)
        log.close()
    assert len(found) == 2


@pytest.mark.parametrize("bound", [2, "2"])
def test_a_sink_may_replay_so_many_events(make_app: MakeApp, bound: object) -> None:
    app = make_app(sink={"events_stream": {"type": "sse", "replay": bound}})
    publish(app, *"abcde")
    stream = follow(app, header="1")
    assert stream.frame() == connected()
    told = {"count": 2, "first_id": 2, "last_id": 3, "reason": "beyond_replay"}
    assert missed(stream) == (3, told)
    assert ids(stream, 2) == [4, 5]
    stream.close()
    for query, header in (("last_event_id=earliest", None), ("", "3")):
        stream = follow(app, query, header)
        assert stream.frame() == connected()
        assert ids(stream, 2) == [4, 5]
        stream.close()


def test_a_sink_may_replay_so_old_events(make_app: MakeApp) -> None:
    app = make_app(sink={"events_stream": {"type": "sse", "replay": "500ms"}})
    publish(app, "a", "b")
    time.sleep(0.6)
    publish(app, "c")
    stream = follow(app, header="1")
    assert stream.frame() == connected()
    told = {"count": 1, "first_id": 2, "last_id": 2, "reason": "beyond_replay"}
    assert missed(stream) == (2, told)
    assert ids(stream, 1) == [3]
    stream.close()


@pytest.fixture
def halfway(app: Flask, monkeypatch: pytest.MonkeyPatch) -> Iterator[AppStream]:
    """Yield a stream that has read the first page of a replay, events 1 and 2 of 8."""
    monkeypatch.setattr("flask_sse_sink.stream.replay.PAGE", 2)
    publish(app, *"abcdefgh")
    stream = follow(app, "last_event_id=earliest")
    assert stream.frame() == connected()
    assert ids(stream, 2) == [1, 2]
    yield stream
    stream.close()


def test_a_replay_goes_on_where_its_tail_is_pruned(halfway: AppStream, runtime: Runtime) -> None:
    runtime.log.prune(FAR, 5)
    assert missed(halfway) == (5, {"count": 3, "first_id": 3, "last_id": 5, "reason": "pruned"})
    assert ids(halfway, 3) == [6, 7, 8]


def test_a_replay_ends_at_once_where_the_stream_is_to_end(
    halfway: AppStream, runtime: Runtime
) -> None:
    assert runtime.end_streams() == 1
    assert halfway.frame().startswith(b"event: info\ndata: closing\n")
    with pytest.raises(EOFError):
        halfway.frame()


def test_a_replay_ends_where_its_client_is_gone(halfway: AppStream, runtime: Runtime) -> None:
    (client,) = runtime.sinks["events_stream"].clients
    client.drop("closed")
    with pytest.raises(EOFError):
        halfway.frame()
    assert runtime.sinks["events_stream"].clients == []


def test_heartbeats_tell_how_far_a_filtered_stream_has_come(make_app: MakeApp) -> None:
    sink = {"type": "sse", "replay": True, "heartbeat_timeout": "100ms"}
    app = make_app(sink={"events_stream": sink})
    stream = follow(app, "event_type=none")
    assert stream.frame() == connected(0)
    publish(app, "a", "b")
    assert stream.frame() == b"event: heartbeat\nid: 2\ndata: ping\n\n"
    publish(app, "none")
    assert ids(stream, 1) == [3]
    assert stream.frame() == b"event: heartbeat\nid: 3\ndata: ping\n\n"
    stream.close()


def test_who_is_too_slow_reads_the_rest_from_the_log(make_app: MakeApp) -> None:
    sink = {"type": "sse", "replay": True, "queue_size": 3}
    app = make_app(sink={"events_stream": sink})
    stream = follow(app, "event_type=a.*")
    assert stream.frame() == connected(0)
    publish(app, *["a.b", "c"] * 20)
    assert runtime_of(app).sinks["events_stream"].clients[0].waiting <= 3
    assert ids(stream, 20) == list(range(1, 41, 2))
    publish(app, "a.c")
    assert ids(stream, 1) == [41]
    assert runtime_of(app).sinks["events_stream"].clients[0].missed == 0
    stream.close()


class _Log(SQLiteLog):
    """A log that is away as often as it is told."""

    failures = 0

    def replay(self, *args: Any, **kwargs: Any) -> Any:
        if self.failures:
            self.failures -= 1
            raise LogUnavailable("away")
        return super().replay(*args, **kwargs)


@pytest.fixture
def log(tmp_path: Path) -> Any:
    log = _Log(tmp_path / "events.db")
    yield log
    log.close()


class _Relay:
    """Lets clients join at the ids that ``turns`` has; an error in it is raised."""

    cursor = -1

    def __init__(self, *turns: int | LogUnavailable, before: Callable[[], object] = int) -> None:
        self.turns = list(turns)
        self._before = before

    def join(self, add: Callable[[], None]) -> int:
        self._before()
        turn = self.turns.pop(0)
        if isinstance(turn, LogUnavailable):
            raise turn
        return turn


def _stream(
    log: _Log,
    relay: Any,
    patterns: tuple[str, ...] = ("*",),
    after: int = 1,
    heartbeat: float = 0.05,
    position: ResumePosition | None = None,
) -> Iterator[bytes]:
    settings = SSESettings(replay=ReplayBound(), heartbeat_timeout=Pause(heartbeat))
    client = Client("s", EVERYTHING, None, settings)
    membership = Membership(Subscribers("s", EVERYTHING, MEMORY), relay, client)
    position = position or ResumePosition(after)
    replay = Replay(log, parse(patterns), ReplayBound(), position, membership)
    return iter(session(client, replay=replay))


def test_a_log_that_goes_away_in_a_replay_is_waited_for(log: _Log) -> None:
    log.append([new_event("a"), new_event("b")])
    relay = _Relay(LogUnavailable("away"), 2)
    log.failures = 3
    stream = _stream(log, relay)
    assert next(stream) == frame.connected(3000)
    data = next(stream)
    while data == frame.heartbeat(1):
        data = next(stream)
    assert ids_in(data) == [2]
    assert log.failures == 0
    # It is live, and so its heartbeats are those of a live stream.
    while data != frame.heartbeat(-1):
        data = next(stream)
        assert data in (frame.heartbeat(2), frame.heartbeat(-1))
    assert relay.turns == []


def test_heartbeats_have_no_id_while_nobody_knows_where_since_begins(log: _Log) -> None:
    log.append([new_event("a"), new_event("b")])
    log.failures = 3
    relay = _Relay(2)
    relay.cursor = 2
    stream = _stream(log, relay, position=ResumePosition(0, since_us=0))
    assert next(stream) == frame.connected(3000)
    data = next(stream)
    while data == frame.HEARTBEAT:
        data = next(stream)
    assert ids_in(data) == [1, 2]
    assert log.failures == 0


def test_events_between_the_last_page_and_the_live_ones_are_read(log: _Log) -> None:
    log.append([new_event("a"), new_event("b")])
    # The last of the three is handed to the live clients.
    relay = _Relay(4, before=lambda: log.append([new_event(name) for name in "cde"]))
    stream = _stream(log, relay)
    assert next(stream) == frame.connected(3000)
    assert ids_in(next(stream)) == [2]
    assert ids_in(next(stream)) == [3, 4]


def test_a_wide_filter_that_matches_little_is_quiet_no_longer_than_it_may(
    log: _Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(matching, "WINDOW", 1)
    monkeypatch.setattr(indexes, "NARROW_TYPES", -1)
    log.append([new_event("a") for _ in range(20)])
    real = log.replay

    def slowly(*args: Any, **kwargs: Any) -> Any:
        time.sleep(0.004)
        return real(*args, **kwargs)

    monkeypatch.setattr(log, "replay", slowly)
    stream = _stream(log, _Relay(20), ("b.*",), after=0, heartbeat=0.01)
    assert next(stream) == frame.connected(3000)
    (id,) = ids_in(next(stream))
    assert 0 < id < 20


@pytest.mark.parametrize("turn", range(5))
def test_joining_under_a_flood_leaves_no_gap_and_no_repeat(app: Flask, turn: int) -> None:
    stop = threading.Event()

    def pour() -> None:
        while not stop.is_set():
            publish(app, "a", "b")

    producers = [threading.Thread(target=pour) for _ in range(2)]
    for each in producers:
        each.start()
    runtime = runtime_of(app)
    wait_until(lambda: runtime.log.head() > 50, "they are at it")
    streams = [follow(app, header=str(n * 7)) for n in range(5)]
    try:
        for n, stream in enumerate(streams):
            assert stream.frame() == connected()
            assert ids(stream, 200) == list(range(n * 7 + 1, n * 7 + 201))
    finally:
        stop.set()
        for each in producers:
            each.join()
        for stream in streams:
            stream.close()
