"""The programs in ``examples``, as somebody runs them."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

from support.access import Browser
from support.example_apps import Example
from support.stream import SocketStream
from support.waiting import wait_until


def text_of(stream: SocketStream) -> str:
    return str(stream.event()["data"]["text"])


def test_users_of_flask_login_get_their_notifications(tmp_path: Path) -> None:
    with Example(tmp_path, "login_app") as example:
        ann, bob = Browser(example.port), Browser(example.port)
        assert "EventSource" in ann.send("/")[1]
        assert example.status("/inbox/") == 401
        for user, name in ((ann, "ann"), (bob, "bob")):
            assert user.form("/login", user=name) == 200
        with contextlib.closing(example.stream("/inbox/", ann.cookie)) as stream:
            assert stream.status == 200
            assert stream.next().data == "connected"
            assert ann.form("/notify/bob", text="not for ann") == 204
            assert bob.form("/notify/ann", text="hello") == 204
            assert text_of(stream) == "bob says hello"
            assert ann.form("/logout") == 200
            assert stream.next().data == "expired"
        assert example.status("/inbox/", bob.cookie) == 200
        assert ann.form("/login", user="ann") == 200
        with contextlib.closing(example.stream("/inbox/", ann.cookie)) as stream:
            assert stream.next().data == "connected"
    assert "Traceback" not in example.log, example.log


def test_users_of_a_session_get_their_notifications(tmp_path: Path) -> None:
    with Example(tmp_path, "session_app") as example:
        ann = Browser(example.port)
        assert ann.send("/stream")[0] == 401
        assert ann.form("/login", user="ann") == 200
        url = json.loads(ann.send("/stream")[1])["url"]
        with contextlib.closing(example.stream(url)) as stream:
            assert stream.next().data == "connected"
            assert ann.form("/notify/bob", text="not for ann") == 204
            assert ann.form("/notify/ann", text="hello") == 204
            assert text_of(stream) == "hello"
            assert ann.form("/logout") == 200
            assert stream.next().data == "expired"
        wait_until(lambda: example.status(url) == 401, "the ticket is refused", 3)
    assert url.partition("ticket=")[2] not in example.log
    assert "Traceback" not in example.log, example.log


def events_until(stream: SocketStream, event_type: str) -> list[dict[str, Any]]:
    """Return the events of a stream up to the first one of this type."""
    events = [stream.event()]
    while events[-1]["event_type"] != event_type:
        events.append(stream.event())
    return events


def test_machines_report_to_a_dashboard(tmp_path: Path) -> None:
    with Example(tmp_path, "dashboard") as example:
        browser = Browser(example.port)
        reading = {"event_type": "machine.load", "entity_id": "web-9", "data": {"load": 1.5}}
        headers = {"Content-Type": "application/json"}
        assert browser.send("/ingest", json.dumps(reading).encode(), headers)[0] == 201
        with contextlib.closing(example.stream("/machines/?last_event_id=earliest")) as stream:
            assert stream.next().data == "connected"
            assert stream.event()["entity_id"] == "web-9"
            assert browser.form("/pretend") == 202
            assert {stream.event()["entity_id"] for _ in range(3)} == {"web-1", "web-2", "db-1"}
    assert "Traceback" not in example.log, example.log


def test_a_late_reader_gets_all_of_a_jobs_progress(tmp_path: Path) -> None:
    with Example(tmp_path, "job_progress") as example:
        browser = Browser(example.port)
        jobs = [json.loads(browser.send("/jobs", b"")[1])["job"] for _ in range(2)]
        for job in jobs:
            path = f"/jobs/?entity_id={job}&last_event_id=earliest"
            with contextlib.closing(example.stream(path)) as stream:
                assert stream.next().data == "connected"
                events = events_until(stream, "job.finished")
            done = [event["data"]["done"] for event in events[:-1]]
            assert done == list(range(1, 21))
            assert {event["entity_id"] for event in events} == {job}
    assert "Traceback" not in example.log, example.log


def test_only_who_asked_reads_the_tokens_of_the_answer(tmp_path: Path) -> None:
    with Example(tmp_path, "token_stream") as example:
        ann, bob = Browser(example.port), Browser(example.port)
        assert ann.send("/ticket")[0] == 404
        assert example.status("/answers/") == 401
        for user, prompt in ((ann, "one"), (bob, "two")):
            assert user.form("/ask", prompt=prompt) == 202
        url = json.loads(ann.send("/ticket")[1])["url"]
        with contextlib.closing(example.stream(f"{url}&last_event_id=earliest")) as stream:
            assert stream.next().data == "connected"
            first = [stream.event() for _ in range(3)]
        # A client that was cut goes on where it was, with the same ticket.
        path = f"{url}&last_event_id={first[-1]['id']}"
        with contextlib.closing(example.stream(path)) as stream:
            assert stream.next().data == "connected"
            *rest, _ = events_until(stream, "answer.end")
        text = "".join(event["data"] for event in [*first, *rest])
        assert text == "You asked: one. A model would know more than this. "
    assert "Traceback" not in example.log, example.log
