"""Streams, as they come through Flask."""

from __future__ import annotations

import re
import threading
from pathlib import Path

import pytest

from flask_sse_sink import client_connected
from flask_sse_sink.extension import runtime_of
from flask_sse_sink.sinks.sse import SSE
from flask_sse_sink.stream.frame import HEARTBEAT
from flask_sse_sink.submission import new_event
from support.apps import Listen, MakeApp, publish
from support.stream import AppStream as Stream
from unit.test_client import is_closing

URL = "/events_stream/"
TYPES = ("user.login", "users.x", "user", "user.a.b", "mail.received", "end")


def test_the_headers_are_exact(make_app: MakeApp) -> None:
    client = make_app().test_client()
    response = client.get(URL, headers={"X-Request-Id": "me"}, buffered=False)
    assert sorted(response.headers) == [
        ("Cache-Control", "no-cache, no-transform"),
        ("Content-Type", "text/event-stream; charset=utf-8"),
        ("X-Accel-Buffering", "no"),
        ("X-Request-Id", "me"),
    ]
    response.close()


def test_the_first_frame_is_exact(make_app: MakeApp) -> None:
    response = make_app().test_client().get(URL, buffered=False)
    first = next(iter(response.iter_encoded()))
    assert first == b"event: info\ndata: connected\nretry: 3000\n\n"
    response.close()


def test_an_event_is_framed_with_its_keys_in_order(make_app: MakeApp, listen: Listen) -> None:
    app = make_app()
    stream = listen(app)
    event = new_event("user.login", {"b": 1, "a": 2}, event_id="e", source="s", meta={"m": 1})
    runtime_of(app).publish([event])
    pattern = (
        rb'event: message\nid: 1\ndata: {"id":1,"event_id":"e","event_type":"user.login",'
        rb'"entity_id":null,"created_at":"[^"]+\+00:00","data":{"b":1,"a":2},'
        rb'"source":{"id":1,"name":"s"},"meta":{"m":1}}\n\n'
    )
    assert re.fullmatch(pattern, stream.frame())


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", TYPES),
        ("event_type=", TYPES),
        ("event_type=*", TYPES),
        ("event_type=user.*&event_type=end", ("user.login", "user.a.b", "end")),
        ("event_type=user.*,end", ("user.login", "user.a.b", "end")),
        ("event_type=user.%2A%2Cend", ("user.login", "user.a.b", "end")),
        ("event_type=user,,%20mail.received&event_type=end", ("user", "mail.received", "end")),
        ("event_type=end", ("end",)),
        ("event_type=user%25,end", ("end",)),
        ("event_type=us_r,end", ("end",)),
        ("other=1&event_type=end", ("end",)),
    ],
)
def test_event_type_narrows_a_stream(
    make_app: MakeApp, listen: Listen, query: str, expected: tuple[str, ...]
) -> None:
    app = make_app()
    stream = listen(app, query)
    publish(app, *TYPES)
    assert stream.types(len(expected)) == list(expected)


def test_a_percent_sign_is_a_letter_like_others(make_app: MakeApp, listen: Listen) -> None:
    app = make_app()
    stream = listen(app, "event_type=100%25.*")
    publish(app, "100x.a", "100%.a")
    assert stream.types(1) == ["100%.a"]


@pytest.mark.parametrize("pattern", ["us*", "*.login", ".*", "a.*.b", "**", "a%0Ab", "x" * 300])
def test_a_malformed_event_type_is_refused(make_app: MakeApp, pattern: str) -> None:
    response = make_app().test_client().get(f"{URL}?event_type={pattern}")
    assert response.status_code == 400
    assert response.content_type == "application/problem+json"
    assert "is not a pattern; write" in response.get_json(force=True)["detail"]


def test_a_sink_lets_through_what_its_list_matches(make_app: MakeApp, listen: Listen) -> None:
    app = make_app(sink={"live": {"type": "sse", "match": ["user.*", "end"], "path": "/all"}})
    whole = listen(app, path="/live/all")
    narrow = listen(app, "event_type=mail.received,end", path="/live/all/")
    publish(app, *TYPES)
    assert whole.types(3) == ["user.login", "user.a.b", "end"]
    assert narrow.types(1) == ["end"]


def test_the_slash_at_the_end_may_be_left_out(make_app: MakeApp, listen: Listen) -> None:
    listen(make_app(), path="/events_stream")


def test_head_answers_with_headers_and_takes_no_slot(make_app: MakeApp) -> None:
    app = make_app()
    response = app.test_client().head(URL)
    assert response.status_code == 200
    assert response.content_type == "text/event-stream; charset=utf-8"
    assert response.data == b""
    assert runtime_of(app).admission.taken == 0
    assert not runtime_of(app).is_running


def test_other_methods_and_paths_are_refused(make_app: MakeApp) -> None:
    client = make_app().test_client()
    assert client.post(URL).status_code == 405
    assert client.put(URL).status_code == 405
    assert client.get(URL + "x").status_code == 404


def test_last_event_id_is_ignored(make_app: MakeApp) -> None:
    app = make_app()
    publish(app, "a", "b")
    headers = {"Last-Event-ID": "1"}
    stream = Stream(app.test_client().get(URL, headers=headers, buffered=False))
    stream.frame()
    publish(app, "c")
    assert stream.types(1) == ["c"]
    stream.close()


def test_an_event_from_before_the_stream_is_never_sent(make_app: MakeApp, listen: Listen) -> None:
    app = make_app()
    publish(app, "before")
    stream = listen(app)
    publish(app, "after")
    assert stream.event()["id"] == 2


def test_too_many_clients_are_refused_until_one_leaves(make_app: MakeApp, listen: Listen) -> None:
    app = make_app(server={"max_clients": 1})
    first = listen(app)
    refused = app.test_client().get(URL)
    assert refused.status_code == 503
    assert refused.headers["Retry-After"] in ("4", "5", "6")
    assert refused.get_json(force=True)["title"] == "Too many clients"
    first.close()
    assert runtime_of(app).admission.taken == 0
    listen(app)


def test_a_stream_that_never_began_gives_its_slot_back_once(make_app: MakeApp) -> None:
    app = make_app(server={"max_clients": 1})
    for _ in range(3):
        # Flask's test client would take the first bytes at once.
        with app.test_request_context(URL):
            response = app.full_dispatch_request()
        assert runtime_of(app).admission.taken == 1
        for _ in range(2):
            response.close()
            assert runtime_of(app).admission.taken == 0


def test_all_sinks_share_the_slots(make_app: MakeApp, listen: Listen) -> None:
    app = make_app(server={"max_clients": 1}, sink={"a": {"type": "sse"}, "b": {"type": "sse"}})
    listen(app, path="/a/")
    assert app.test_client().get("/b/").status_code == 503


def test_a_log_that_is_away_is_said(make_app: MakeApp, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    app = make_app(database={"url": f"sqlite:///{tmp_path}/file/x.db"})
    response = app.test_client().get(URL)
    assert response.status_code == 503
    assert response.headers["Retry-After"] in ("4", "5", "6")
    assert runtime_of(app).admission.taken == 0


def test_filtered_events_do_not_put_a_heartbeat_off(make_app: MakeApp, listen: Listen) -> None:
    app = make_app(sink={"events_stream": {"type": "sse", "heartbeat_timeout": 0.05}})
    stream = listen(app, "event_type=wanted")
    stop = threading.Event()

    def flood() -> None:
        while not stop.is_set():
            publish(app, "other")

    thread = threading.Thread(target=flood)
    thread.start()
    try:
        assert [stream.frame() for _ in range(2)] == [HEARTBEAT] * 2
    finally:
        stop.set()
        thread.join()


def test_a_closed_engine_says_so_to_its_streams(make_app: MakeApp, listen: Listen) -> None:
    app = make_app()
    stream = listen(app)
    publish(app, "last")
    runtime_of(app).close()
    assert stream.types(1) == ["last"]
    assert is_closing(stream.frame())


ALLOW = "Access-Control-Allow-Origin"
ALLOWED = "https://app.example.com"


@pytest.mark.parametrize(
    "origin",
    [
        "https://appxexample.com",
        "https://app.example.com.evil.org",
        "https://app.example.comx",
        "https://app.example.com:443",
        "https://app.example.com:8443",
        "https://app.example.com/",
        "https://app.example.com\n",
        "https://App.example.com",
        "http://app.example.com",
        "https://evil.org/https://app.example.com",
        "https://evil.org?https://app.example.com",
        "xhttps://app.example.com",
        "https://example.com",
        "https://app\u017f.example.com".encode().decode("latin-1"),
        "null",
        "*",
        ".*",
        "",
    ],
)
@pytest.mark.parametrize("configured", [[ALLOWED], [ALLOWED, "http://[::1]:8000"]])
def test_no_other_origin_is_allowed(make_app: MakeApp, configured: list[str], origin: str) -> None:
    client = make_app(sink={"sse": {"cors_origins": configured}}).test_client()
    environ = {"HTTP_ORIGIN": origin}
    for answer in (
        client.head("/sse/", environ_overrides=environ),
        client.get("/sse/?event_type=*.x", environ_overrides=environ),
        client.options("/sse/", environ_overrides=environ),
    ):
        assert ALLOW not in answer.headers
        assert answer.vary.to_header() == "Origin"


@pytest.mark.parametrize("origin", [ALLOWED, "http://[::1]:8000"])
def test_cors_is_answered_to_the_origins_that_are_configured(
    make_app: MakeApp, origin: str
) -> None:
    sink = {"type": "sse", "cors_origins": [ALLOWED, "http://[::1]:8000"]}
    client = make_app(sink={"s": sink}).test_client()
    head = client.head("/s/", headers={"Origin": origin})
    assert head.headers.getlist(ALLOW) == [origin]
    assert head.vary.to_header() == "Origin"
    assert head.headers["Access-Control-Expose-Headers"] == "Sse-Sink-Log"
    asked = {"Access-Control-Request-Method": "GET", "Access-Control-Request-Headers": "X-A"}
    before = client.options("/s/", headers={"Origin": origin, **asked})
    assert before.headers[ALLOW] == origin
    assert before.headers["Access-Control-Allow-Methods"] == "GET, HEAD"
    assert before.headers["Access-Control-Allow-Headers"] == "X-A"
    # Without an Origin, who may read it is nobody's business.
    assert ALLOW not in client.head("/s/").headers
    assert client.head("/s/").vary.to_header() == "Origin"


def test_refusals_may_be_read_by_the_same_origins(make_app: MakeApp, tmp_path: Path) -> None:
    sink = {"type": "sse", "cors_origins": [ALLOWED]}
    (tmp_path / "file").touch()
    app = make_app(sink={"s": sink}, database={"url": f"sqlite:///{tmp_path}/file/x.db"})
    client = app.test_client()
    for path, status in (("/s/?event_type=*.x", 400), ("/s/", 503)):
        answer = client.get(path, headers={"Origin": ALLOWED})
        assert answer.status_code == status
        assert answer.headers.getlist(ALLOW) == [ALLOWED]
        assert answer.vary.to_header() == "Origin"


def test_every_origin_is_allowed_where_that_is_configured(make_app: MakeApp) -> None:
    client = make_app(sink={"sse": {"cors_origins": ["*"]}}).test_client()
    for headers in ({"Origin": "https://x.evil.org"}, {}):
        head = client.head("/sse/", headers=headers)
        assert head.headers.getlist(ALLOW) == ["*"]
        assert "Access-Control-Allow-Credentials" not in head.headers


def test_cors_is_silent_where_it_is_not_configured(make_app: MakeApp) -> None:
    client = make_app().test_client()
    response = client.head(URL, headers={"Origin": "https://a.example"})
    assert not [name for name in response.headers.keys() if name.startswith("Access-Control")]


def test_filters_that_mean_the_same_share_a_group(make_app: MakeApp, listen: Listen) -> None:
    app = make_app()
    streams = [
        listen(app, "event_type=a.*,b"),
        listen(app, "event_type=b&event_type=a.*,a.x"),
    ]
    sink = runtime_of(app).sinks["events_stream"]
    assert isinstance(sink, SSE)
    assert len(sink.subscribers.filters) == 1
    assert len(sink.clients) == 2
    publish(app, "a.x", "c", "b")
    assert [stream.types(2) for stream in streams] == [["a.x", "b"]] * 2
    streams[0].close()
    assert len(sink.clients) == 1
    streams[1].close()
    assert sink.subscribers.filters == []


def test_a_slow_stream_is_told_what_it_missed(make_app: MakeApp, listen: Listen) -> None:
    app = make_app(sink={"events_stream": {"type": "sse", "queue_size": 1}})
    stream = listen(app)
    publish(app, "a", "b", "c")
    # Another thread may still be at it; a stream that joins waits for that.
    listen(app)
    notice = b'event: info\ndata: missed {"count":2,"first_id":1,"last_id":2}\n\n'
    assert stream.frame() == notice
    assert stream.types(1) == ["c"]


def test_the_peer_of_a_client_is_known(make_app: MakeApp, listen: Listen) -> None:
    app = make_app()
    seen: list[str | None] = []

    def note(sender: object, client: object, **values: object) -> None:
        seen.append(getattr(client, "address", None))

    with client_connected.connected_to(note, sender=app):
        listen(app)
    assert seen == ["127.0.0.1"]


@pytest.mark.parametrize("replay", [False, True])
def test_events_that_were_pruned_too_soon_are_told_to_live_clients(
    make_app: MakeApp, replay: bool
) -> None:
    app = make_app(sink={"events_stream": {"type": "sse", "replay": replay}})
    runtime = runtime_of(app)
    publish(app, "a")
    streams = []
    for query in ("", "event_type=c"):
        response = app.test_client().get(f"/events_stream/?{query}", buffered=False)
        streams.append(Stream(response))
        assert b"data: connected\n" in streams[-1].frame()
    # Another process stores, and prunes at once.
    runtime.log.append([new_event("b"), new_event("b"), new_event("c")])
    runtime.log.prune(2**62, 2)
    relay = runtime.started().relay
    assert relay is not None
    relay.pump()
    for stream, count in zip(streams, ("1", "null"), strict=True):
        found = stream.frame().decode()
        told = f'missed {{"count":{count},"first_id":2,"last_id":2,"reason":"pruned"}}'
        assert found == f"event: info\ndata: {told}\n\n"
    assert streams[0].types(2) == ["b", "c"]
    assert streams[1].types(1) == ["c"]
    for stream in streams:
        stream.close()
