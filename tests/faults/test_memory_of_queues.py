"""What waits for many slow readers with filters of their own takes a bounded memory."""

from __future__ import annotations

import json
import re
import socket
import time
from collections.abc import Sequence
from pathlib import Path

import psutil
import pytest

from support.crowd import Crowd, Heard
from support.measured import Measured
from support.server import Server

pytestmark = pytest.mark.usefixtures("both_ways")

READERS = 60
# What the kernel's send buffer takes of each stream, some 2.6 MiB, waits in no queue.
SIZE = 20_000
MIB = 2**20


def publish(server: Server, types: Sequence[str]) -> dict[str, list[int]]:
    """Publish an event of each of the types, ten a POST; return the ids of each type."""
    ids: dict[str, list[int]] = {}
    with server.connection() as producer:
        for begin in range(0, len(types), 10):
            part = types[begin : begin + 10]
            found = producer.post([{"event_type": t, "data": "x" * SIZE} for t in part])
            for event_type, id in zip(part, found, strict=True):
                ids.setdefault(event_type, []).append(id)
    return ids


def memory(server: Server) -> float:
    """Return the proportional set size of the one worker in MiB."""
    pss: int = psutil.Process(server.workers()[0]).memory_full_info().pss
    return pss / MIB


def read_up_to(crowd: Crowd, last: Sequence[int]) -> None:
    """Read, now quickly, until each stream has the event that is the last for it."""
    for heard in crowd.heard:
        heard.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, MIB)
    marks = [b"id: %d\n" % id for id in last]
    pairs = list(zip(crowd.heard, marks, strict=True))
    crowd.read_until(lambda: all(mark in heard.raw[-100_000:] for heard, mark in pairs), 60)


def check(heard: Heard, ids: Sequence[int]) -> int:
    """Return how many events of these the stream has missed; each must be there or be told."""
    expected = list(ids)
    missed = at = 0
    for each in heard.events():
        if each.event == "message":
            assert int(each.id) == expected[at] == json.loads(each.data)["id"]
            assert len(json.loads(each.data)["data"]) == SIZE
            at += 1
        elif each.event == "info" and each.data.startswith("missed"):
            told = json.loads(each.data.removeprefix("missed "))
            count = told["count"]
            assert (told["first_id"], told["last_id"]) == (expected[at], expected[at + count - 1])
            at += count
            missed += count
        else:
            assert each.event == "heartbeat" or re.match("connected|closing", each.data), each
    assert at == len(expected)
    return missed


def test_slow_readers_with_a_filter_each_share_what_waits_for_them(
    tmp_path: Path, measured: Measured
) -> None:
    queries = [f"?event_type=load.a,none.n{number}" for number in range(READERS)]
    with Server(tmp_path, {"server": {"workers": 1, "max_clients": 100}}) as server:
        with (
            Crowd(server.port, receive_buffer=4096, queries=queries[4:]),
            Crowd(server.port, receive_buffer=4096, queries=queries[:4]) as crowd,
        ):
            before = memory(server)
            ids = publish(server, ["load.a"] * 850)["load.a"]
            grown = memory(server) - before
            published = 850 * SIZE / MIB
            measured(
                f"{READERS} slow readers, a filter each, {published:.0f} MiB: memory grew",
                f"{before:.0f} to {before + grown:.0f} MiB",
            )
            # Some of them read all of it after all.
            read_up_to(crowd, [ids[-1]] * 4)
            server.terminate()
            crowd.read_to_the_end()
            assert [check(heard, ids) for heard in crowd.heard] == [0] * 4
    # Once, and for each reader what is being written.
    assert grown < published + READERS * 0.25 + 15
    assert "Traceback" not in server.log, server.log


def test_what_waits_in_a_process_is_bounded_and_the_fullest_queues_lose_first(
    tmp_path: Path, measured: Measured
) -> None:
    types = [f"own.t{number}" for number in range(READERS)]
    # The last reader's events are few: its queue is never among the fullest.
    rounds = [types[:-1]] * 200
    flood = [event_type for each in rounds for event_type in each]
    flood[:: len(flood) // 60] = [types[-1]] * len(flood[:: len(flood) // 60])
    queries = [f"?event_type={event_type}" for event_type in types]
    with Server(
        tmp_path, {"server": {"workers": 1, "max_clients": 100, "queue_bytes": "32MiB"}}
    ) as server:
        with Crowd(server.port, receive_buffer=4096, queries=queries) as crowd:
            before = memory(server)
            began = time.monotonic()
            ids = publish(server, flood)
            seconds = time.monotonic() - began
            grown = memory(server) - before
            waiting = server.metrics()["sse_sink_queue_bytes"] / MIB
            published = len(flood) * SIZE / MIB
            what = f"{READERS} slow readers, {published:.0f} MiB, queue_bytes 32 MiB"
            measured(f"{what}: memory grew", f"{grown:.0f} MiB in {seconds:.0f} s")
            for event_type, last in publish(server, types).items():
                ids[event_type] += last
            read_up_to(crowd, [ids[event_type][-1] for event_type in types])
            server.wait_for_metrics({"sse_sink_queue_bytes": 0})
            missed_total = server.metrics()['sse_sink_missed_total{sink="events_stream"}']
            server.terminate()
            crowd.read_to_the_end()
            missed = [
                check(heard, ids[event_type])
                for heard, event_type in zip(crowd.heard, types, strict=True)
            ]
            measured(f"{what}: missed and told", f"{sum(missed)} of {len(flood)} events")
    assert waiting < 34
    assert grown < 32 + READERS * 0.25 + 25
    assert sum(missed) == missed_total > 0
    assert missed[-1] == 0
    assert "more than server.queue_bytes: 33554432 waits" in server.log
    assert "Traceback" not in server.log, server.log


def test_with_replay_the_fullest_queues_fall_behind_and_lose_nothing(tmp_path: Path) -> None:
    types = [f"own.t{number}" for number in range(READERS)]
    queries = [f"?event_type={event_type}" for event_type in types]
    with Server(
        tmp_path,
        {
            "server": {"workers": 1, "max_clients": 100, "queue_bytes": "4MiB"},
            "sink": {"events_stream": {"replay": True}},
        },
    ) as server:
        with Crowd(server.port, receive_buffer=4096, queries=queries) as crowd:
            ids = publish(server, types * 180)
            read_up_to(crowd, [ids[event_type][-1] for event_type in types])
            log = server.log
            server.terminate()
            crowd.read_to_the_end()
            missed = [
                check(heard, ids[event_type])
                for heard, event_type in zip(crowd.heard, types, strict=True)
            ]
    assert missed == [0] * READERS
    assert "more than server.queue_bytes" in log
    assert "Traceback" not in server.log, server.log
