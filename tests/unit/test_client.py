"""The stream made of one client, and what it holds from its beginning to its end."""

from __future__ import annotations

import gc
import re
import threading
import time
from collections.abc import Iterator

import pytest

from flask_sse_sink import client_connected, client_disconnected, metrics
from flask_sse_sink.config.values import Pause
from flask_sse_sink.exceptions import LogUnavailable
from flask_sse_sink.filters import EVERYTHING
from flask_sse_sink.stream import frame
from flask_sse_sink.stream.admission import Admission
from flask_sse_sink.stream.client import Client, paced
from flask_sse_sink.stream.settings import SSESettings
from support.chunks import chunk, messages
from support.sessions import APP, Calls, session
from support.waiting import wait_until


def client(**settings: object) -> Client:
    made = SSESettings(**settings)  # type: ignore[arg-type] # the test's own keywords
    return Client("live", EVERYTHING, "127.0.0.1", made)


def is_closing(data: bytes) -> bool:
    """Return whether it is the last frame of a stream that is told to come back after 3 s."""
    found = re.fullmatch(rb"event: info\ndata: closing\nretry: (\d+)\n\n", data)
    return found is not None and 3000 <= int(found[1]) <= 6000


@pytest.fixture
def told() -> Iterator[list[str]]:
    """Return what the signals tell of the sessions' app: ``connected`` and the reasons."""
    found: list[str] = []

    def came(sender: object, sink: str, client: Client) -> None:
        found.append("connected")

    def went(sender: object, sink: str, client: Client) -> None:
        found.append(client.reason)

    with client_connected.connected_to(came, sender=APP):
        with client_disconnected.connected_to(went, sender=APP):
            yield found


def test_a_stream_begins_with_the_greeting_and_ends_with_the_closing_frame(
    told: list[str],
) -> None:
    found, calls, admission = client(), Calls(), Admission(1)
    found.queue.sender.send(chunk(1))
    found.end("drained")
    found.end("again")
    parts = list(session(found, calls, admission))
    assert parts[:2] == [frame.connected(3000), messages(1)]
    assert is_closing(b"".join(parts[2:]))
    assert calls.names == ["join", "add", "discard"]
    assert told == ["connected", "drained"]
    assert (found.reason, found.frames, admission.taken) == ("drained", 1, 0)
    assert found.seconds >= 0


def test_a_stream_that_its_server_closes_gives_up_all_it_had_once(told: list[str]) -> None:
    found, calls, admission = client(), Calls(), Admission(1)
    made = session(found, calls, admission)
    next(iter(made))
    assert admission.taken == 1
    for _ in range(2):
        made.close()
        assert (admission.taken, told, calls.later) == (0, ["connected", "closed"], [])
    assert calls.names == ["join", "add", "discard"]


def test_a_stream_that_never_began_has_nothing_but_its_slot(told: list[str]) -> None:
    calls, admission = Calls(), Admission(1)
    made = session(client(), calls, admission)
    assert admission.taken == 1
    made.close()
    assert admission.taken == 0
    made = session(client(), calls, admission)
    del made
    assert (admission.taken, calls.names, calls.later, told) == (0, [], [], [])


def test_a_stream_that_is_dropped_without_a_close_leaves_the_rest_to_the_watcher(
    told: list[str],
) -> None:
    calls, admission = Calls(), Admission(1)
    stream = iter(session(client(), calls, admission))
    next(stream)
    del stream
    # No collection was needed: the slot is free at once.
    assert admission.taken == 0
    assert told == ["connected"]
    (call,) = calls.later
    call()
    assert told == ["connected", "closed"]
    assert calls.names == ["join", "add", "discard"]


def test_a_stream_in_a_cycle_is_ended_by_the_collector_under_any_lock(told: list[str]) -> None:
    calls, admission = Calls(), Admission(1)
    held: list[object] = [session(client(), calls, admission)]
    held.append(iter(held[0]))  # type: ignore[call-overload] # the session above
    next(held[1])  # type: ignore[call-overload] # its bytes
    held.append(held)
    del held
    with admission._lock:
        gc.collect()
    assert admission.taken == 0
    (call,) = calls.later
    call()
    assert told == ["connected", "closed"]


def test_a_stream_whose_thread_waits_is_not_collected(told: list[str]) -> None:
    found, admission, parts = client(heartbeat_timeout=Pause(60)), Admission(1), list[bytes]()
    thread = threading.Thread(target=parts.extend, args=(session(found, admission=admission),))
    thread.start()
    wait_until(lambda: told, "it has begun")
    gc.collect()
    assert (admission.taken, told) == (1, ["connected"])
    found.end("drained")
    thread.join(20)
    assert not thread.is_alive()
    assert (admission.taken, told) == (0, ["connected", "drained"])


def test_a_stream_that_another_thread_closes_wakes_its_own_and_ends_once(told: list[str]) -> None:
    found, admission = client(heartbeat_timeout=Pause(60)), Admission(1)
    made = session(found, admission=admission)
    ends: list[int] = []
    thread = threading.Thread(target=lambda: ends.append(len(list(made))))
    thread.start()
    wait_until(lambda: told, "it has begun")
    closers = [threading.Thread(target=made.close) for _ in range(8)]
    for each in closers:
        each.start()
    for each in (*closers, thread):
        each.join(20)
        assert not each.is_alive()
    assert ends == [1]
    assert (admission.taken, told) == (0, ["connected", "closed"])


def test_a_stream_that_begins_too_late_ends_at_once(told: list[str]) -> None:
    now = [0.0]
    admission = Admission(1, begin_seconds=10, clock=lambda: now[0])
    late, calls = client(), Calls()
    made = session(late, calls, admission)
    now[0] = 9.9
    assert admission.taken == 1
    now[0] = 10.1
    other = session(client(), calls, admission)
    (only,) = made
    assert is_closing(only)
    made.close()
    # The slot that another has by now is not given back.
    assert (admission.taken, calls.names, told) == (1, [], [])
    next(iter(other))
    now[0] = 1000
    assert admission.taken == 1
    other.close()


def test_a_stream_is_iterated_once(told: list[str]) -> None:
    admission = Admission(1)
    made = session(client(), admission=admission)
    first = iter(made)
    next(first)
    (only,) = made
    assert is_closing(only)
    assert (admission.taken, told) == (1, ["connected"])
    made.close()


def counted(name: str, **labels: str) -> float:
    from prometheus_client import REGISTRY

    metrics.get().sink("live")
    return REGISTRY.get_sample_value(f"sse_sink_{name}", {"sink": "live", **labels}) or 0.0


def test_a_stream_that_can_not_join_is_an_error_and_holds_nothing(told: list[str]) -> None:
    calls, admission, open_before = Calls(OSError("no")), Admission(1), counted("clients")
    made = session(client(), calls, admission)
    with pytest.raises(OSError, match="no"):
        next(iter(made))
    assert (admission.taken, told, counted("clients")) == (0, [], open_before)
    made.close()
    assert told == []


def test_a_stream_that_can_not_tell_old_events_from_new_is_refused(told: list[str]) -> None:
    found, admission = client(), Admission(1)
    open_before, before = counted("clients"), counted("clients_refused_total")
    (only,) = session(found, Calls(LogUnavailable("away")), admission)
    assert re.fullmatch(rb"event: info\ndata: busy\nretry: [3-6]\d{3}\n\n", only)
    assert (found.reason, told, admission.taken) == ("refused", ["refused"], 0)
    assert counted("clients_refused_total") == before + 1
    assert counted("clients") == open_before


def test_connected_and_disconnected_are_told_in_pairs(told: list[str]) -> None:
    def leave(sender: object, **values: object) -> None:
        raise KeyboardInterrupt

    found, admission = client(), Admission(1)
    with client_connected.connected_to(leave, sender=APP):
        with pytest.raises(KeyboardInterrupt):
            next(iter(session(found, admission=admission)))
    assert (told, admission.taken) == (["connected", "failed"], 0)


def test_a_heartbeat_comes_after_the_timeout_since_the_last_write() -> None:
    found = client(heartbeat_timeout=Pause(0.05))
    stream = iter(session(found))
    next(stream)
    for id in (1, 2):
        found.queue.sender.send(chunk(id))
        assert next(stream) == messages(id)
        written = time.monotonic()
        assert next(stream) == b"event: heartbeat\ndata: ping\n\n"
        assert 0.05 <= time.monotonic() - written < 5
    assert found.frames == 2


@pytest.mark.parametrize(("count", "pauses"), [(0, 0), (49, 0), (50, 1), (120, 2)])
def test_the_threads_of_many_streams_are_woken_with_pauses(
    monkeypatch: pytest.MonkeyPatch, count: int, pauses: int
) -> None:
    clients: list[Client] = [client() for _ in range(count)]
    slept: list[float] = []
    monkeypatch.setattr(time, "sleep", slept.append)
    assert list(paced(clients)) == clients
    assert len(slept) == pauses and sum(slept) <= 0.1
