"""Probes: numbered frames at known times."""

from __future__ import annotations

import json
from datetime import datetime
from itertools import pairwise
from typing import Any

import pytest

from flask_sse_sink.extension import runtime_of
from flask_sse_sink.stream.probe import MAX_FRAMES, PAUSE_SECONDS, Probe, parse_probe
from support.apps import Listen, MakeApp, publish
from support.stream import AppStream

URL = "/events_stream/"


def probe_frame(stream: AppStream) -> dict[str, Any]:
    """Return the data of the next frame, which must be one of a probe, without an id."""
    name, data, end = stream.frame().decode().split("\n", 2)
    assert (name, end) == ("event: probe", "\n")
    decoded: dict[str, Any] = json.loads(data.removeprefix("data: "))
    return decoded


def test_a_probe_has_its_numbered_frames_and_then_the_events(
    make_app: MakeApp, listen: Listen
) -> None:
    app = make_app(sink={"events_stream": {"type": "sse", "heartbeat_timeout": 7}})
    stream = listen(app, "probe=3")
    frames = [probe_frame(stream) for _ in range(3)]
    assert [(frame["number"], frame["count"]) for frame in frames] == [(1, 3), (2, 3), (3, 3)]
    assert frames[0]["heartbeat_timeout"] == 7
    assert frames[0]["protocol"] == "HTTP/1.1"
    assert frames[0]["last_event_id"] is None
    assert frames[0]["direct"] is False
    times = [datetime.fromisoformat(frame["time"]) for frame in frames]
    pauses = [(after - before).total_seconds() for before, after in pairwise(times)]
    assert min(pauses) >= PAUSE_SECONDS * 0.9
    publish(app, "a")
    assert stream.event()["event_type"] == "a"


def test_events_come_among_the_frames_of_a_probe_and_none_is_lost(
    make_app: MakeApp, listen: Listen
) -> None:
    app = make_app()
    stream = listen(app, "probe=3")
    probe_frame(stream)
    publish(app, "a", "b", "c")
    frames = [stream.frame() for _ in range(5)]
    events = [frame for frame in frames if not frame.startswith(b"event: probe")]
    assert [frame.split(b"\n")[1] for frame in events] == [b"id: 1", b"id: 2", b"id: 3"]
    probes = [frame for frame in frames if frame not in events]
    assert [b'"number":%d' % n in frame for n, frame in enumerate(probes, 2)] == [True, True]


def test_a_probe_on_a_sink_with_replay_loses_nothing_that_overflows(make_app: MakeApp) -> None:
    app = make_app(sink={"events_stream": {"type": "sse", "replay": True, "queue_size": 2}})
    response = app.test_client().get(f"{URL}?probe=2", buffered=False)
    stream = AppStream(response)
    try:
        stream.frame()
        assert probe_frame(stream)["number"] == 1
        publish(app, *"abcdef")
        seen = [stream.frame() for _ in range(7)]
        assert [frame.startswith(b"event: probe") for frame in seen].count(True) == 1
        ids = [frame.split(b"\n")[1] for frame in seen if frame.startswith(b"event: message")]
        assert ids == [b"id: %d" % n for n in range(1, 7)]
    finally:
        stream.close()


def test_a_probe_is_sent_before_what_was_missed(make_app: MakeApp) -> None:
    app = make_app(sink={"events_stream": {"type": "sse", "replay": True}})
    publish(app, "a", "b")
    headers = {"Last-Event-ID": "1"}
    response = app.test_client().get(f"{URL}?probe=1", headers=headers, buffered=False)
    stream = AppStream(response)
    try:
        stream.frame()
        assert probe_frame(stream)["last_event_id"] == "1"
        assert stream.types(1) == ["b"]
    finally:
        stream.close()


def test_a_stream_that_is_told_to_end_ends_in_its_probe(make_app: MakeApp, listen: Listen) -> None:
    app = make_app()
    stream = listen(app, "probe=10")
    probe_frame(stream)
    runtime_of(app).end_streams()
    assert stream.frame().startswith(b"event: info\ndata: closing\n")
    with pytest.raises(EOFError):
        stream.frame()


def test_a_probe_takes_a_slot_and_gives_it_back(make_app: MakeApp, listen: Listen) -> None:
    app = make_app(sink={"events_stream": {"type": "sse", "max_clients": 1}})
    stream = listen(app, "probe=10")
    assert app.test_client().get(f"{URL}?probe=10").status_code == 503
    stream.close()
    assert runtime_of(app).admission.taken == 0
    assert runtime_of(app).sinks["events_stream"].clients == []


def test_a_probe_needs_the_access_that_the_sink_needs(make_app: MakeApp) -> None:
    app = make_app(sink={"events_stream": {"type": "sse", "access": "token"}})
    assert app.test_client().get(f"{URL}?probe=x").status_code == 401


@pytest.mark.parametrize("text", ["x", "-1", "1.5", "99999", "1e1", "\u0661"])
def test_a_malformed_probe_is_refused_with_the_cure(make_app: MakeApp, text: str) -> None:
    response = make_app().test_client().get(URL, query_string={"probe": text})
    assert response.status_code == 400
    answer = response.get_json(force=True)
    assert answer["title"] == "Malformed probe"
    assert "write e.g. probe=10" in answer["detail"]


@pytest.mark.parametrize(
    ("text", "frames"), [("", 0), ("0", 0), ("1", 1), ("10", 10), ("11", 10), ("9999", 10)]
)
def test_a_probe_is_bounded(text: str, frames: int) -> None:
    assert parse_probe(text) == frames <= MAX_FRAMES


def test_a_frame_shows_a_hostile_last_event_id_as_text() -> None:
    environ = {"SERVER_PROTOCOL": "HTTP/1.0", "HTTP_LAST_EVENT_ID": 'x"\n\nid: 9\r\n' + "y" * 999}
    text = Probe.of(environ, 1, 30, direct=False).frame()
    assert text.count(b"\n") == 3
    assert b"\r" not in text
    data = json.loads(text.splitlines()[1].removeprefix(b"data: "))
    assert data["protocol"] == "HTTP/1.0"
    assert len(data["last_event_id"]) == 80
