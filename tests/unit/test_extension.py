"""The extension in an app: registration, publishing, signals, forks."""

from __future__ import annotations

import datetime
import errno
import gc
import os
import threading
import uuid
import weakref
from pathlib import Path
from types import MappingProxyType
from typing import Any

import click
import pytest
from flask import Flask
from prometheus_client import REGISTRY

from flask_sse_sink import (
    ConfigError,
    Event,
    InvalidEvent,
    LogUnavailable,
    LogUnusable,
    SSESink,
    client_connected,
    client_disconnected,
    create_app,
    events_stored,
)
from flask_sse_sink.extension import runtime_of
from support.apps import Listen, MakeApp, publish
from support.waiting import wait_until

CONFIG = (
    'database: {url: "sqlite:///events.db"}\ningest: {auth: none}\nsink: {live: {type: sse}}\n'
)


def mapping(folder: Path, *sinks: str) -> dict[str, Any]:
    return {
        "database": {"url": f"sqlite:///{folder}/events.db"},
        "ingest": {"auth": "none"},
        "sink": {name: {"type": "sse"} for name in sinks or ("live",)},
    }


def fds() -> list[str]:
    return sorted(os.listdir("/proc/self/fd"))


def test_an_app_is_given_to_the_extension_at_once(make_app: MakeApp, tmp_path: Path) -> None:
    app = Flask("a")
    sse = SSESink(app, mapping(tmp_path))
    assert sse.publish("a.b") == 1
    assert app.test_client().head("/live/").status_code == 200


def test_an_app_is_given_to_the_extension_later(make_app: MakeApp, tmp_path: Path) -> None:
    app, sse = Flask("a"), SSESink()
    sse.init_app(app, mapping(tmp_path))
    assert sse.publish("a.b") == 1
    assert app.test_client().head("/live/").status_code == 200


def test_a_second_registration_is_refused(make_app: MakeApp, tmp_path: Path) -> None:
    app = Flask("a")
    sse = SSESink(app, mapping(tmp_path))
    with pytest.raises(
        RuntimeError, match=r"Was init_app called twice, or after SSESink\(app\)\?"
    ):
        sse.init_app(app)


@pytest.mark.parametrize("way", ["argument", "init_app", "app.config", "environment", "folder"])
def test_the_configuration_is_taken_from_a_file(
    make_app: MakeApp, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    monkeypatch.delenv("SSE_SINK_CONFIG", raising=False)
    file = tmp_path / "config.yaml"
    file.write_text(CONFIG)
    app, sse = Flask("a"), SSESink(config=file if way == "argument" else None)
    if way == "app.config":
        app.config["SSE_SINK_CONFIG"] = str(file)
    elif way == "environment":
        monkeypatch.setenv("SSE_SINK_CONFIG", str(file))
    elif way == "folder":
        monkeypatch.chdir(tmp_path)
    sse.init_app(app, file if way == "init_app" else None)
    assert list(runtime_of(app).sinks) == ["live"]
    assert runtime_of(app).settings.database.url == f"sqlite:///{tmp_path}/events.db"


def test_the_configuration_is_taken_from_a_mapping(make_app: MakeApp, tmp_path: Path) -> None:
    app = Flask("a")
    app.config["SSE_SINK"] = mapping(tmp_path, "x")
    app.config["SSE_SINK_CONFIG"] = "not read"
    SSESink(app)
    other = Flask("b")
    other.config["SSE_SINK"] = mapping(tmp_path, "x")
    SSESink(other, mapping(tmp_path, "y"))
    assert [list(runtime_of(each).sinks) for each in (app, other)] == [["x"], ["y"]]


def test_a_wrong_configuration_is_refused_with_all_problems(tmp_path: Path) -> None:
    app = Flask("a")
    with pytest.raises(ConfigError) as caught:
        SSESink(app, {"sink": {}, "servr": {}})
    assert len(caught.value.problems) == 2
    assert all(line.startswith("SSE_SINK: ") for line in caught.value.problems)
    assert "sse_sink" not in app.extensions


def test_a_file_that_is_no_log_is_refused_at_once(make_app: MakeApp, tmp_path: Path) -> None:
    (tmp_path / "events.db").write_bytes(b"nonsense" * 1000)
    with pytest.raises(LogUnusable, match="no SQLite database"):
        SSESink(Flask("a"), mapping(tmp_path))


def test_apps_of_one_process_are_apart(make_app: MakeApp, listen: Listen) -> None:
    one, two = make_app(), make_app()
    streams = listen(one), listen(two)
    publish(one, "for.one")
    publish(two, "for.two")
    assert [stream.types(1) for stream in streams] == [["for.one"], ["for.two"]]


def test_one_extension_serves_several_apps(
    make_app: MakeApp, listen: Listen, tmp_path: Path
) -> None:
    sse, apps = SSESink(), [Flask("a"), Flask("b")]
    for app in apps:
        (tmp_path / app.name).mkdir()
        sse.init_app(app, mapping(tmp_path / app.name, "events_stream"))
    stream = listen(apps[1])
    for app in apps:
        with app.app_context():
            sse.publish(f"for.{app.name}")
    assert stream.types(1) == ["for.b"]
    sse.close()
    assert not any(runtime_of(app).is_running for app in apps)


def test_an_event_is_published_from_a_view(make_app: MakeApp, listen: Listen) -> None:
    app = make_app()
    sse = SSESink()

    @app.get("/do")
    def do() -> str:
        return str(sse.publish("from.view", {"a": 1}, entity_id="x", source="s", meta={"m": 2}))

    stream = listen(app)
    assert app.test_client().get("/do").text == "1"
    event = stream.event()
    assert (event["data"], event["entity_id"], event["meta"]) == ({"a": 1}, "x", {"m": 2})
    assert event["source"]["name"] == "s"


def test_an_event_is_published_from_a_command(make_app: MakeApp, listen: Listen) -> None:
    app = make_app()

    @app.cli.command("do")
    def do() -> None:
        click.echo(SSESink().publish("from.command"))

    stream = listen(app)
    result = app.test_cli_runner().invoke(args=["do"])
    assert result.output == "1\n"
    assert stream.types(1) == ["from.command"]


def test_an_event_is_published_from_a_thread(
    make_app: MakeApp, listen: Listen, tmp_path: Path
) -> None:
    app = Flask("a")
    sse = SSESink(app, mapping(tmp_path, "events_stream"))
    stream = listen(app)
    thread = threading.Thread(target=sse.publish, args=("from.thread",))
    thread.start()
    thread.join()
    assert stream.types(1) == ["from.thread"]


def test_dates_and_uuids_are_published(make_app: MakeApp, listen: Listen, tmp_path: Path) -> None:
    app = Flask("a")
    sse = SSESink(app, mapping(tmp_path, "events_stream"))
    stream = listen(app)
    day, id = datetime.date(2024, 2, 29), uuid.UUID(int=7)
    sse.publish("a", {"day": day, "id": id})
    assert stream.event()["data"] == {"day": "2024-02-29", "id": str(id)}


def test_an_event_without_data_has_an_empty_object(
    make_app: MakeApp, listen: Listen, tmp_path: Path
) -> None:
    app = Flask("a")
    sse = SSESink(app, mapping(tmp_path, "events_stream"))
    stream = listen(app)
    sse.publish("a")
    assert stream.event()["data"] == {}


def test_a_repeated_event_has_its_first_id(make_app: MakeApp, tmp_path: Path) -> None:
    app, sse = Flask("a"), SSESink()
    sse.init_app(app, mapping(tmp_path))
    with app.app_context():
        assert [
            sse.publish("a", event_id="e"),
            sse.publish("b"),
            sse.publish("a", event_id="e"),
        ] == [1, 2, 1]


def test_a_batch_is_published_whole_or_not_at_all(make_app: MakeApp, tmp_path: Path) -> None:
    app = Flask("a")
    sse = SSESink(app, mapping(tmp_path))
    result = sse.publish_many([{"event_type": "a"}, {"event_type": "b", "data": [1]}])
    assert (result.ids, result.accepted, result.duplicates) == ([1, 2], 2, 0)
    with pytest.raises(InvalidEvent):
        sse.publish_many([{"event_type": "a"}, {"event_type": ""}])
    assert sse.publish("c") == 3


A = {"event_type": "a"}


@pytest.mark.parametrize(
    ("events", "locs"),
    [
        ([{}], ["[0]"]),
        ([1], ["[0]"]),
        ([A, {}, None, "a", A, {"event_type": ""}], ["[1]", "[2]", "[3]", "[5].event_type"]),
        ([A, {"event_type": "a", "colour": "red"}], ["[1]"]),
        ([{"event_type": "a", 1: 2}], ["[0]"]),
        ([{"event_type": "a", (1, 2): 3}], ["[0]"]),
        ([{"event_type": "a", "id": 3}], ["[0]"]),
        ([{"event_type": "a", "meta": []}], ["[0].meta"]),
        ([A, {"event_type": "a", "data": object()}], ["[1]"]),
        ([{"event_type": None}], ["[0].event_type"]),
        ([[]], ["[0]"]),
        ([1] * 1000, [f"[{n}]" for n in range(100)]),
        (A, [""]),
        ("ab", [""]),
        (5, [""]),
        (None, [""]),
    ],
)
def test_what_is_no_event_in_a_batch_is_named_by_its_index(
    make_app: MakeApp, tmp_path: Path, events: Any, locs: list[str]
) -> None:
    app = Flask("a")
    with pytest.raises(InvalidEvent) as caught:
        SSESink(app, mapping(tmp_path)).publish_many(events)
    assert [fault.loc for fault in caught.value.faults] == locs
    assert all(fault.msg for fault in caught.value.faults)
    assert not runtime_of(app).is_running


def test_a_batch_may_be_any_iterable_of_mappings(make_app: MakeApp, tmp_path: Path) -> None:
    app = Flask("a")
    sse = SSESink(app, mapping(tmp_path))
    assert sse.publish_many(MappingProxyType(A) for _ in range(3)).ids == [1, 2, 3]
    assert sse.publish_many(()).ids == []


@pytest.mark.parametrize("data", [object(), {"a": {1, object()}}, "\ud800", {(1, 2): 3}])
def test_what_can_not_be_encoded_is_no_event(
    make_app: MakeApp, tmp_path: Path, data: object
) -> None:
    app = Flask("a")
    with pytest.raises(InvalidEvent, match="can't be encoded as JSON"):
        SSESink(app, mapping(tmp_path)).publish("a", data)
    assert not runtime_of(app).is_running


def test_publishing_without_an_app_asks_for_init_app() -> None:
    with pytest.raises(RuntimeError, match=r"Did you forget to call 'init_app'\?"):
        SSESink().publish("a")
    with pytest.raises(RuntimeError, match=r"Did you forget to call 'init_app'\?"):
        runtime_of(Flask("a"))


def test_publishing_with_several_apps_asks_which(make_app: MakeApp, tmp_path: Path) -> None:
    sse, apps = SSESink(), [Flask("a"), Flask("b")]
    for app in apps:
        sse.init_app(app, mapping(tmp_path))
    with pytest.raises(RuntimeError, match=r"which one is meant\?"):
        sse.publish("a")


@pytest.mark.parametrize("error", [ZeroDivisionError, SystemExit])
def test_a_receiver_that_raises_hurts_nobody(
    make_app: MakeApp,
    listen: Listen,
    caplog: pytest.LogCaptureFixture,
    error: type[BaseException],
) -> None:
    app = make_app()
    seen: list[list[Event]] = []

    def broken(sender: Flask, **values: object) -> None:
        raise error

    def sound(sender: Flask, events: list[Event]) -> None:
        seen.append(events)

    stream = listen(app)
    with events_stored.connected_to(broken), events_stored.connected_to(sound, sender=app):
        assert publish(app, "a") == [1]
        assert stream.types(1) == ["a"]
        # Who joins waits for a delivery in progress.
        listen(app)
    assert [event.event_type for events in seen for event in events] == ["a"]
    [record] = [record for record in caplog.records if "raised" in record.message]
    assert "broken" in record.message
    assert record.exc_info


def test_ctrl_c_in_a_receiver_still_ends_the_program(make_app: MakeApp) -> None:
    app = make_app()

    def broken(sender: Flask, **values: object) -> None:
        raise KeyboardInterrupt

    with events_stored.connected_to(broken, sender=app), pytest.raises(KeyboardInterrupt):
        publish(app, "a")
    assert runtime_of(app).log.head() == 1


def test_events_stored_tells_every_event_once_in_order(make_app: MakeApp, listen: Listen) -> None:
    app, other = make_app(), make_app()
    seen: list[tuple[Flask, int, str]] = []

    def note(sender: Flask, events: list[Event]) -> None:
        seen.extend((sender, event.id, event.event_type) for event in events)

    with events_stored.connected_to(note, sender=app):
        publish(app, "a", "b")
        publish(other, "x")
        listen(app)
    assert seen == [(app, 1, "a"), (app, 2, "b")]


def test_clients_are_told_as_they_come_and_go(make_app: MakeApp, listen: Listen) -> None:
    app = make_app()
    seen: list[tuple[str, Flask, str, str, int]] = []

    def came(sender: Flask, sink: str, client: Any) -> None:
        seen.append(("came", sender, sink, client.reason, client.frames))

    def went(sender: Flask, sink: str, client: Any) -> None:
        seen.append(("went", sender, sink, client.reason, client.frames))

    with client_connected.connected_to(came), client_disconnected.connected_to(went):
        stream = listen(app)
        for event_type in ("a", "b"):
            publish(app, event_type)
            stream.event()
        # A write counts once it is done, which for the second nobody has said.
        stream.close()
    name = "events_stream"
    assert seen == [("came", app, name, "", 0), ("went", app, name, "closed", 1)]


def test_routes_that_meet_are_refused_with_all_problems(make_app: MakeApp, tmp_path: Path) -> None:
    app = Flask("a")
    app.add_url_rule("/live", "mine", lambda: "")
    app.add_url_rule("/ingest", "yours", lambda: "", methods=["POST"])
    SSESink(app_with := Flask("b"), mapping(tmp_path, "taken"))
    app.register_blueprint(app_with.blueprints["taken"], url_prefix="/elsewhere")
    with pytest.raises(ConfigError) as caught:
        SSESink(app, mapping(tmp_path, "live", "taken", "free"))
    assert caught.value.problems == (
        "SSE_SINK: sink.live: /live/ meets the app's route mine; choose another",
        "SSE_SINK: ingest.path: /ingest meets the app's route yours; choose another",
        "SSE_SINK: sink.taken: the app has a blueprint of this name; choose another",
    )
    assert "sse_sink" not in app.extensions


def test_the_servers_own_routes_can_not_be_taken(make_app: MakeApp, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(CONFIG.replace("live:", "healthz:"))
    with pytest.raises(ConfigError, match="healthz/ meets the app's route"):
        create_app(file)


def test_a_new_app_starts_no_thread_and_makes_no_file(make_app: MakeApp, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(CONFIG)
    before = threading.enumerate(), fds()
    app = create_app(file)
    assert (threading.enumerate(), fds()) == before
    assert os.listdir(tmp_path) == ["config.yaml"]
    publish(app, "a")
    assert (tmp_path / "events.db").exists()


def test_a_new_app_leaves_an_old_log_closed(make_app: MakeApp, tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(CONFIG)
    first = create_app(file)
    publish(first, "a")
    runtime_of(first).close()
    before = fds()
    create_app(file)
    assert fds() == before


def test_a_closed_engine_starts_again(make_app: MakeApp, listen: Listen) -> None:
    app = make_app()
    publish(app, "a")
    runtime_of(app).close()
    runtime_of(app).close()
    stream = listen(app)
    assert publish(app, "b") == [2]
    assert stream.types(1) == ["b"]


@pytest.mark.parametrize(
    "part",
    [
        "retention.Retention.start",
        "stream.watcher.Watcher.__init__",
        "stream.watcher.Watcher.start",
        "relay.SupervisedThread.start",
    ],
)
def test_a_start_that_fails_half_way_leaves_nothing_and_can_be_made_again(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    app = make_app()
    publish(app, "a")
    runtime_of(app).close()
    before = sorted(thread.name for thread in threading.enumerate()), fds()

    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as failing:
        failing.setattr(f"flask_sse_sink.{part}", fail)
        for _ in range(3):
            with pytest.raises(RuntimeError, match="can't start"):
                runtime_of(app).started()
            assert (sorted(thread.name for thread in threading.enumerate()), fds()) == before
    assert publish(app, "b") == [2]


def test_a_close_ends_threads_that_can_not_be_woken(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app()
    publish(app, "a")

    def fail() -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(runtime_of(app).log, "interrupt", fail)
    runtime_of(app).close()
    assert not [t for t in threading.enumerate() if t.name.startswith("sse-sink-")]


@pytest.mark.parametrize("handled", [True, False])
@pytest.mark.parametrize(
    "what", ["runtime.Runtime.started", "sinks.sse.Session", "sinks.sse.Connection.of"]
)
def test_an_error_between_admission_and_response_gives_the_place_back(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch, what: str, handled: bool
) -> None:
    app = make_app()
    if handled:
        app.register_error_handler(Exception, lambda error: ("sorry", 500))

    def fail(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as failing:
        failing.setattr(f"flask_sse_sink.{what}", fail)
        for _ in range(3):
            assert app.test_client().get("/events_stream/").status_code == 500
    assert runtime_of(app).admission.taken == 0


def test_a_client_that_is_refused_at_the_join_is_counted_and_told(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    app = make_app()
    publish(app, "a")
    relay = runtime_of(app).started().relay
    assert relay is not None
    told: list[str] = []

    def came(sender: Flask, **values: Any) -> None:
        told.append("connected")

    def went(sender: Flask, sink: str, client: Any) -> None:
        told.append(client.reason)

    def away(add: object) -> int:
        raise LogUnavailable("away")

    name, labels = "sse_sink_clients_refused_total", {"sink": "events_stream"}
    before = REGISTRY.get_sample_value(name, labels) or 0
    monkeypatch.setattr(relay, "join", away)
    with client_connected.connected_to(came), client_disconnected.connected_to(went):
        response = app.test_client().get("/events_stream/")
    assert response.status_code == 200
    assert response.data.startswith(b"event: info\ndata: busy\nretry: ")
    assert told == ["refused"]
    assert REGISTRY.get_sample_value(name, labels) == before + 1
    assert runtime_of(app).admission.taken == 0


def test_apps_that_are_dropped_leave_no_thread_and_no_descriptor(tmp_path: Path) -> None:
    def use(number: int) -> None:
        app = Flask("a")
        sse = SSESink(app, mapping(tmp_path, "events_stream"))
        response = app.test_client().get("/events_stream/", buffered=False)
        next(iter(response.iter_encoded()))
        assert sse.publish("a") == number
        if number % 2:
            # The other half forget that, too.
            response.close()

    gc.collect()
    before = set(threading.enumerate()), len(fds())
    for number in range(1, 35):
        use(number)
    gc.collect()
    wait_until(lambda: set(threading.enumerate()) <= before[0], "the threads have ended")
    wait_until(lambda: len(fds()) <= before[1], "the descriptors are closed")


def test_an_app_with_an_open_stream_is_in_use(tmp_path: Path) -> None:
    app = Flask("a")
    sse = SSESink(app, mapping(tmp_path, "events_stream"))
    response = app.test_client().get("/events_stream/", buffered=False)
    parts = iter(response.iter_encoded())
    next(parts)
    runtime = runtime_of(app)
    gone = weakref.ref(app)
    del app
    gc.collect()
    # The test client's own references are of no account: the stream has one.
    assert gone() is not None
    assert sse.publish("a") == 1
    assert b'"a"' in next(parts)
    response.close()
    del response, parts
    gc.collect()
    wait_until(lambda: not runtime.is_running, "nothing runs for it")
