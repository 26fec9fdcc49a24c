"""Pulled sinks over HTTP, in this process."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from flask_sse_sink.config.loading import from_mapping
from flask_sse_sink.config.settings import DatabaseSettings
from flask_sse_sink.exceptions import ConfigError
from flask_sse_sink.extension import runtime_of
from flask_sse_sink.filters import EVERYTHING, Filter, parse
from flask_sse_sink.log import EventLog, Page, open_log
from flask_sse_sink.log.deliveries import UnknownBatch, deliveries_of
from flask_sse_sink.log.protocol import now_us
from flask_sse_sink.pull.consumption import Consumption, NotGranted
from flask_sse_sink.pull.place import Rules
from flask_sse_sink.pull.settings import PullSettings
from flask_sse_sink.sinks.http_pull import HttpPull
from flask_sse_sink.submission import new_event
from support.apps import MakeApp, publish
from support.waiting import wait_until

OPEN = {"type": "http_pull", "access": "none"}


@pytest.fixture
def app(make_app: MakeApp) -> Flask:
    return make_app(sink={"warehouse": {**OPEN, "match": "order.*"}, "audit": OPEN})


def get(app: Flask, path: str) -> Any:
    answer: Any = app.test_client().get(path)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    return answer.json


def post(app: Flask, path: str, json: Any = None) -> Any:
    answer: Any = app.test_client().post(path, json=json)
    assert answer.status_code == 200, answer.text
    return answer.json


def ids(batch: Any) -> list[int]:
    return [event["id"] for event in batch["events"]]


def sink(app: Flask, name: str = "warehouse") -> HttpPull:
    pulled = runtime_of(app).sinks[name]
    assert isinstance(pulled, HttpPull)
    return pulled


def test_an_empty_sink_gives_an_empty_batch(app: Flask) -> None:
    empty: Any = {"batch_id": None, "events": [], "remaining_events": 0}
    assert get(app, "/warehouse/extract") == empty


def test_events_are_extracted_oldest_first_and_confirmed(app: Flask) -> None:
    publish(app, "order.a", "user.x", "order.b", "order.c")
    batch = get(app, "/warehouse/extract?batch_size=2")
    assert (ids(batch), batch["remaining_events"]) == ([1, 3], 1)
    assert list(batch["events"][0]) == [
        "id",
        "event_id",
        "event_type",
        "entity_id",
        "created_at",
        "data",
        "source",
        "meta",
    ]
    confirm = f"/warehouse/mark-processed?batch_id={batch['batch_id']}"
    assert post(app, confirm) == {"status": "success", "marked_count": 2}
    assert post(app, confirm) == {"status": "success", "marked_count": 0}
    assert ids(get(app, "/warehouse/extract")) == [4]
    assert ids(get(app, "/audit/extract")) == [1, 2, 3, 4]


def test_without_a_lease_two_extracts_overlap(app: Flask) -> None:
    publish(app, "order.a", "order.b")
    first, second = get(app, "/warehouse/extract"), get(app, "/warehouse/extract")
    assert ids(first) == ids(second) == [1, 2]
    assert first["batch_id"] != second["batch_id"]
    assert "leased_until" not in first


def test_a_part_is_confirmed_by_its_ids(app: Flask) -> None:
    publish(app, "order.a", "order.b", "order.c")
    batch = get(app, "/warehouse/extract")["batch_id"]
    path = f"/warehouse/mark-processed?batch_id={batch}"
    assert post(app, path, {"ids": [2, 99]})["marked_count"] == 1
    assert ids(get(app, "/warehouse/extract")) == [1, 3]
    assert post(app, path, {})["marked_count"] == 2
    assert ids(get(app, "/warehouse/extract")) == []


def test_what_was_confirmed_out_of_order_does_not_remain(app: Flask) -> None:
    publish(app, "order.a", "order.b", "order.c")
    batch = get(app, "/warehouse/extract")["batch_id"]
    post(app, f"/warehouse/mark-processed?batch_id={batch}", {"ids": [2]})
    one = get(app, "/warehouse/extract?batch_size=1&lease=60")
    assert (ids(one), one["remaining_events"]) == ([1], 1)
    assert ids(get(app, "/warehouse/extract?lease=60")) == [3]
    publish(app, "order.d", "order.e")
    two = get(app, "/warehouse/extract")["batch_id"]
    post(app, f"/warehouse/mark-processed?batch_id={two}", {"ids": [5]})
    last = get(app, "/warehouse/extract?batch_size=1&lease=60")
    assert (ids(last), last["remaining_events"]) == ([4], 0)


def test_what_was_confirmed_above_pruned_events_leaves_no_row(make_app: MakeApp) -> None:
    app = make_app(sink={"p": OPEN})
    publish(app, "a", "b", "c")
    batch = get(app, "/p/extract")["batch_id"]
    post(app, f"/p/mark-processed?batch_id={batch}", {"ids": [1, 3]})
    pulled, log = sink(app, "p"), runtime_of(app).log
    log.prune(0, 500, 1, before_prune=pulled.before_prune)
    pulled.maintain()
    (status,) = deliveries_of(log).status()
    assert (status.cursor, status.confirmed_above) == (3, 0)


def test_leased_events_are_hidden_until_the_lease_ends(app: Flask) -> None:
    publish(app, "order.a", "order.b")
    first = get(app, "/warehouse/extract?batch_size=1&lease=1m")
    assert ids(first) == [1]
    assert first["leased_until"].endswith("+00:00")
    assert "attempts" not in first
    second = get(app, "/warehouse/extract")
    assert (ids(second), second["remaining_events"]) == ([2], 0)
    batch = first["batch_id"]
    assert post(app, f"/warehouse/extend?batch_id={batch}&lease=90")["extended_count"] == 1
    assert post(app, f"/warehouse/release?batch_id={batch}")["released_count"] == 1
    again = get(app, "/warehouse/extract?lease=60&batch_size=1")
    assert ids(again) == [1]
    assert again["attempts"] == {"1": 2}
    # Another batch has it now.
    assert post(app, f"/warehouse/mark-processed?batch_id={batch}")["marked_count"] == 0


def test_events_that_were_leased_too_often_are_dead_letters(make_app: MakeApp) -> None:
    app = make_app(sink={"p": {**OPEN, "lease": 30, "max_attempts": 2}})
    publish(app, "a", "b")
    for _ in range(2):
        batch = get(app, "/p/extract")
        assert ids(batch) == [1, 2]
        post(app, f"/p/mark-processed?batch_id={batch['batch_id']}", {"ids": [2]})
        post(app, f"/p/release?batch_id={batch['batch_id']}")
        if _ == 0:
            publish(app, "c")
            more = get(app, "/p/extract?lease=0")
            assert ids(more) == [1, 3]
            break
    batch = get(app, "/p/extract")
    assert ids(batch) == [1, 3]
    post(app, f"/p/release?batch_id={batch['batch_id']}")
    dead = get(app, "/p/dead")
    assert ids(dead) == [1]
    assert dead["attempts"] == {"1": 2}
    assert ids(get(app, "/p/extract?lease=0")) == [3]
    assert post(app, "/p/dead/retry") == {"status": "success", "retried_count": 1}
    assert ids(get(app, "/p/dead")) == []
    assert ids(get(app, "/p/extract")) == [1, 3]


@pytest.mark.parametrize(
    ("path", "detail"),
    [
        ("/warehouse/extract?batch_size=0", "send a whole number from 1 to 10000"),
        ("/warehouse/extract?batch_size=10001", "send a whole number from 1 to 10000"),
        ("/warehouse/extract?batch_size=x", "send a whole number"),
        ("/warehouse/extract?batch_size=1&batch_size=2", "it is given 2 times; send it once"),
        ("/warehouse/extract?wait=61", "wait 60 s at most"),
        ("/warehouse/extract?wait=soon", "is not an interval"),
        ("/warehouse/extract?wait=NaN", "is not an interval"),
        ("/warehouse/extract?wait=inf", "is not an interval"),
        ("/warehouse/extract?lease=-1", "is not an interval"),
        ("/warehouse/extract?lease=NaN", "is not an interval"),
        ("/warehouse/extract?event_type=a*", "is not a pattern"),
    ],
)
def test_bad_parameters_are_refused_with_the_cure(app: Flask, path: str, detail: str) -> None:
    answer: Any = app.test_client().get(path)
    assert (answer.status_code, answer.mimetype) == (400, "application/problem+json")
    assert detail in answer.json["detail"]


@pytest.mark.parametrize(
    ("path", "body", "status", "detail"),
    [
        ("/warehouse/mark-processed", "", 400, "it is missing"),
        ("/warehouse/mark-processed?batch_id=x", "", 400, "send a whole number"),
        ("/warehouse/mark-processed?batch_id=1001", "{", 400, "send e.g."),
        ("/warehouse/mark-processed?batch_id=1001", '{"ids": [0]}', 400, "Expected `int` >= 1"),
        ("/warehouse/mark-processed?batch_id=1001", '{"id": [1]}', 400, "unknown field `id`"),
        ("/warehouse/mark-processed?batch_id=1001", '{"ids": [1.5]}', 400, "Expected `int`"),
        ("/warehouse/mark-processed?batch_id=-1", "", 400, "send a whole number"),
        ("/warehouse/mark-processed?batch_id=9223372036854775808", "", 400, "a whole number"),
        ("/warehouse/mark-processed?batch_id=1001", " " * 5_000_000, 413, "name fewer ids"),
        ("/warehouse/dead/retry", '{"id": [1]}', 400, "unknown field `id`"),
        ("/warehouse/mark-processed?batch_id=7", "", 404, "7 is no batch of this sink"),
        ("/warehouse/release?batch_id=7", "", 404, "7 is no batch of this sink"),
        ("/warehouse/extend?batch_id=7", "", 400, "it is missing, or 0; send for how long"),
        ("/warehouse/extend?batch_id=7&lease=1", "", 404, "7 is no batch of this sink"),
    ],
)
def test_bad_confirmations_are_refused(
    app: Flask, path: str, body: str, status: int, detail: str
) -> None:
    answer: Any = app.test_client().post(path, data=body)
    assert answer.status_code == status, answer.text
    assert detail in answer.json["detail"]


def test_another_sinks_batch_is_unknown(app: Flask) -> None:
    publish(app, "order.a")
    batch = get(app, "/warehouse/extract")["batch_id"]
    answer: Any = app.test_client().post(f"/audit/mark-processed?batch_id={batch}")
    assert answer.status_code == 404


def test_only_get_extracts(app: Flask) -> None:
    for method in ("head", "post", "put"):
        assert getattr(app.test_client(), method)("/warehouse/extract").status_code == 405


def test_a_sink_is_closed_unless_the_configuration_opens_it(make_app: MakeApp) -> None:
    app = make_app(sink={"p": {"type": "http_pull"}})
    answer: Any = app.test_client().get("/p/extract")
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")


def test_a_query_narrows_by_type_entity_and_source(app: Flask) -> None:
    runtime_of(app).publish(
        [
            new_event("order.a", entity_id="u1", source="shop"),
            new_event("order.b", entity_id="u2", source="shop"),
            new_event("order.a", entity_id="u2", source="till"),
        ]
    )
    assert ids(get(app, "/warehouse/extract?event_type=order.a")) == [1, 3]
    assert ids(get(app, "/warehouse/extract?entity_id=u2")) == [2, 3]
    batch = get(app, "/warehouse/extract?source=shop&batch_size=1")
    assert (ids(batch), batch["remaining_events"]) == ([1], 1)


def test_the_paths_of_the_configuration_are_used(make_app: MakeApp) -> None:
    paths = {"extract": "/get", "mark_processed": "done"}
    app = make_app(sink={"p": {**OPEN, "path": paths}})
    publish(app, "a")
    batch = get(app, "/p/get")["batch_id"]
    assert post(app, f"/p/done?batch_id={batch}")["marked_count"] == 1


def test_start_latest_begins_when_the_server_first_starts_with_it(make_app: MakeApp) -> None:
    app = make_app(sink={"p": {**OPEN, "start": "latest"}, "q": OPEN})
    runtime_of(app).started()
    publish(app, "a")
    assert ids(get(app, "/p/extract")) == [1]


def test_events_that_are_too_old_are_passed_over(make_app: MakeApp) -> None:
    ttl = {"ttl_enabled": True, "default_ttl": "1h", "event_ttl": {"short": 0.2}}
    app = make_app(sink={"p": {**OPEN, **ttl}})
    publish(app, "short", "long", "short")
    leased = get(app, "/p/extract?lease=60")
    assert ids(leased) == [1, 2, 3]
    time.sleep(0.3)
    post(app, f"/p/release?batch_id={leased['batch_id']}")
    batch = get(app, "/p/extract")
    assert (ids(batch), batch["remaining_events"]) == ([2], 0)


def test_a_waiting_request_is_answered_when_an_event_comes(app: Flask) -> None:
    answers: list[Any] = []
    thread = threading.Thread(
        target=lambda: answers.append(get(app, "/warehouse/extract?wait=30"))
    )
    thread.start()
    wait_until(lambda: sink(app).waiting == 1, "it waits")
    assert runtime_of(app).admission.taken == 1
    publish(app, "user.x")
    publish(app, "order.a")
    thread.join(10)
    assert ids(answers[0]) == [2]
    assert runtime_of(app).admission.taken == 0


def test_a_wait_ends_empty_after_its_time(app: Flask) -> None:
    began = time.monotonic()
    assert ids(get(app, "/warehouse/extract?wait=0.2")) == []
    assert time.monotonic() - began >= 0.2


def test_a_wait_is_answered_when_a_lease_ends(app: Flask) -> None:
    publish(app, "order.a")
    get(app, "/warehouse/extract?lease=0.3")
    began = time.monotonic()
    assert ids(get(app, "/warehouse/extract?wait=20")) == [1]
    assert time.monotonic() - began < 5


def test_waits_are_answered_when_the_server_stops(app: Flask) -> None:
    answers: list[Any] = []
    thread = threading.Thread(
        target=lambda: answers.append(get(app, "/warehouse/extract?wait=30"))
    )
    thread.start()
    wait_until(lambda: sink(app).waiting == 1, "it waits")
    runtime_of(app).drain()
    thread.join(10)
    assert answers == [{"batch_id": None, "events": [], "remaining_events": 0}]
    # And whoever comes later isn't kept.
    assert ids(get(app, "/warehouse/extract?wait=30")) == []


def test_a_wait_takes_a_slot_of_the_streams(make_app: MakeApp) -> None:
    app = make_app(server={"max_clients": 1}, sink={"p": OPEN})
    with runtime_of(app).admission.admit() as slot:
        answer: Any = app.test_client().get("/p/extract?wait=5")
        assert (answer.status_code, answer.json["title"]) == (503, "Too many clients")
        assert answer.headers["Retry-After"] == "2"
        slot.give_back()


def test_what_was_pruned_unconfirmed_is_told_until_a_batch_with_it_is_confirmed(
    make_app: MakeApp,
) -> None:
    app = make_app(sink={"p": {**OPEN, "match": "a.*"}})
    publish(app, "a.x", "b", "a.y", "a.z")
    runtime = runtime_of(app)
    runtime.log.prune(0, 500, 1, before_prune=sink(app, "p").before_prune)
    missed = {"id": 1, "count": 2, "first_id": 1, "last_id": 3}
    assert get(app, "/p/extract?event_type=b")["missed"] == missed
    batch = get(app, "/p/extract")
    assert (ids(batch), batch["missed"]) == ([4], missed)
    assert get(app, "/p/extract")["missed"] == missed
    post(app, f"/p/mark-processed?batch_id={batch['batch_id']}")
    assert "missed" not in get(app, "/p/extract")


def test_a_report_is_no_longer_told_once_it_is_said_to_be_read(make_app: MakeApp) -> None:
    app = make_app(sink={"p": OPEN})
    publish(app, "a", "b")
    log = runtime_of(app).log
    log.prune(0, 500, 1, before_prune=sink(app, "p").before_prune)
    report = get(app, "/p/extract")["missed"]["id"]
    assert post(app, f"/p/mark-processed?missed={report}")["marked_count"] == 0
    assert "missed" not in get(app, "/p/extract")


def test_what_was_pruned_behind_the_sinks_back_is_told(make_app: MakeApp) -> None:
    app = make_app(sink={"p": OPEN, "q": {**OPEN, "match": "a"}})
    publish(app, "a", "b", "c")
    runtime_of(app).log.prune(0, 500, 1)
    assert get(app, "/p/extract")["missed"] == {
        "id": 1,
        "count": 2,
        "first_id": 1,
        "last_id": 2,
    }
    assert get(app, "/q/extract")["missed"]["count"] is None


def test_retention_keeps_what_is_unconfirmed_if_it_is_told_to(
    make_app: MakeApp, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    database = {
        "url": f"sqlite:///{tmp_path}/held.db",
        "retention_hold": True,
        "retention_hold_count": 4,
    }
    app = make_app(sink={"p": {**OPEN, "match": "a"}}, database=database)
    held = sink(app, "p").before_prune
    publish(app, "b", "a", "b", "b")
    assert held(4) == 1
    assert "3 events wait for sink p" in caplog.text
    batch = get(app, "/p/extract?lease=60")
    assert held(4) == 1
    post(app, f"/p/mark-processed?batch_id={batch['batch_id']}")
    assert held(4) == 4
    publish(app, "a", "b", "b", "b", "b", "b")
    # No more than four are kept for it.
    assert held(8) == 6
    assert get(app, "/p/extract")["missed"]["count"] == 1


def problems(sinks: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        from_mapping({"sink": sinks}, "c.yaml", Path("/"))
    return list(caught.value.problems)


def test_wrong_settings_are_refused_with_the_cure() -> None:
    assert problems(
        {
            "a": {"type": "http_pull", "batch_size": 20_000, "path": {"extract": "/dead"}},
            "b": {"type": "http_pull", "event_ttl": {"x": "soon"}},
            "c": {"type": "http_pull", "path": "/x"},
        }
    ) == [
        'c.yaml: sink.b.event_ttl[...]: "soon" is not an interval; '
        'write seconds or e.g. "30s", "1m 30s", "1h"',
        "c.yaml: sink.c.path: text is not a section; write keys and values under it",
        "c.yaml: sink.a.batch_size: 20000 is above max_batch_size: 10000; "
        "lower the one, or raise the other",
        "c.yaml: sink.a.path.extract: /dead is another route of this sink; choose another",
    ]


def test_the_settings_of_an_old_configuration_are_taken() -> None:
    content = {
        "http_pull": {
            "path": {"extract": "/extract", "mark_processed": "/mark-processed"},
            "match": ["order.*"],
            "ttl_enabled": True,
            "default_ttl": "1h",
            "event_ttl": {"order.created": "24h", "order.paid": 60},
        }
    }
    settings = from_mapping({"sink": content}, "c.yaml", Path("/")).sink["http_pull"]
    assert isinstance(settings, PullSettings)
    assert settings.event_ttl == {"order.created": 86400.0, "order.paid": 60.0}


@pytest.fixture
def consumption(tmp_path: Path) -> Iterator[tuple[EventLog, Consumption]]:
    log = open_log(DatabaseSettings(url=f"sqlite:///{tmp_path}/events.db"))
    made = Consumption(log, deliveries_of(log), "p", Rules(EVERYTHING, max_attempts=1))
    made.place.open()
    yield log, made
    log.close()


def test_whoever_may_not_read_every_event_of_a_batch_may_do_nothing_with_it(
    consumption: tuple[EventLog, Consumption],
) -> None:
    log, pulled = consumption
    log.append([new_event("a"), new_event("b")])
    batch = pulled.extraction.extract(EVERYTHING, 10, 60_000_000).id
    mine, both = parse(["a"]), parse(["a", "b"])
    with pytest.raises(NotGranted):
        pulled.confirm(batch, readable=mine)
    with pytest.raises(NotGranted):
        pulled.release(batch, readable=mine)
    with pytest.raises(NotGranted):
        pulled.extend(batch, 1, mine)
    assert pulled.release(batch, readable=both) == 2
    assert [stored[0] for stored, _ in pulled.dead(0, 10, mine)] == [1]
    with pytest.raises(NotGranted):
        pulled.retry([1, 2], mine)
    assert pulled.retry(readable=mine) == 1
    assert [stored[0] for stored, _ in pulled.dead(0, 10)] == [2]
    # Confirmed although it is a dead letter.
    assert pulled.confirm(batch, readable=both) == 2


def test_what_was_confirmed_leaves_nothing_behind(
    consumption: tuple[EventLog, Consumption], tmp_path: Path
) -> None:
    log, pulled = consumption
    for _ in range(20):
        log.append([new_event("a") for _ in range(500)])
    for lease in (0, 60_000_000):
        for _ in range(10):
            batch = pulled.extraction.extract(EVERYTHING, 500, lease)
            assert pulled.confirm(batch.id) == 500
    with closing(sqlite3.connect(tmp_path / "events.db")) as db:
        for table in ("pulled_events", "pulled_batches"):
            assert db.execute(f"SELECT count(*) FROM {table}").fetchone() == (0,)
        assert db.execute("SELECT cursor FROM pulled_sinks").fetchone() == (10_000,)


def test_a_consumer_of_one_type_passes_once_over_what_it_confirmed(
    consumption: tuple[EventLog, Consumption], monkeypatch: pytest.MonkeyPatch
) -> None:
    log, pulled = consumption
    log.append([new_event("b"), *[new_event("a") for _ in range(3000)]])
    only = parse(["a"])
    while (batch := pulled.extraction.extract(only, 500)).id:
        pulled.confirm(batch.id)
    reads: list[int] = []
    replay = log.replay

    def counted(after: int, limit: int, filter: Filter, until: int | None = None) -> Page:
        reads.append(after)
        return replay(after, limit, filter, until)

    monkeypatch.setattr(log, "replay", counted)
    assert not pulled.extraction.extract(only, 500).id
    assert reads == [3001]
    # And the cursor passes over all of it once the other type is confirmed.
    pulled.confirm(pulled.extraction.extract(EVERYTHING, 1).id)
    (status,) = deliveries_of(log).status()
    assert (status.cursor, status.confirmed_above) == (3001, 0)


def test_old_batches_are_forgotten_and_their_events_come_again(
    consumption: tuple[EventLog, Consumption],
) -> None:
    log, pulled = consumption
    store: Any = deliveries_of(log)
    log.append([new_event("a")])
    first = pulled.extraction.extract(EVERYTHING, 1).id
    store.clock = lambda: now_us() + 2 * 86_400_000_000
    for _ in range(1024):
        last = pulled.extraction.extract(EVERYTHING, 1).id
    assert pulled.confirm(first) == 0
    assert pulled.confirm(last) == 1


def test_a_sink_that_was_forgotten_begins_anew_and_its_batches_are_unknown(
    consumption: tuple[EventLog, Consumption],
) -> None:
    log, pulled = consumption
    store = deliveries_of(log)
    log.append([new_event("a")])
    batch = pulled.extraction.extract(EVERYTHING, 1).id
    assert store.forget(now_us() - 1_000_000) == []
    assert store.forget(now_us() + 1_000_000) == ["p"]
    assert store.status() == []
    with pytest.raises(UnknownBatch):
        pulled.confirm(batch)
    assert [id for id, _ in pulled.extraction.extract(EVERYTHING, 1).envelopes] == [1]


def test_a_log_that_lost_its_newest_events_loses_no_later_ones(
    consumption: tuple[EventLog, Consumption],
) -> None:
    log, pulled = consumption
    deliveries_of(log).reset("p", 50)
    log.append([new_event("a"), new_event("a")])
    assert not pulled.extraction.extract(EVERYTHING, 1).id
    log.append([new_event("a")])
    assert [id for id, _ in pulled.extraction.extract(EVERYTHING, 1).envelopes] == [3]
