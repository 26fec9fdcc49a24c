"""Probes from a real server, with direct send and without."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from flask_sse_sink.stream.probe import MAX_FRAMES
from support.server import Server
from support.stream import SocketStream
from support.waiting import wait_until


@pytest.mark.usefixtures("both_ways")
def test_a_probe_delays_nobody_and_events_go_on_after_it(tmp_path: Path) -> None:
    with Server(tmp_path, {"server": {"workers": 1}}) as server:
        with server.stream("?probe=10") as probed, server.stream() as plain:
            first = probed.next()
            assert first.event == "probe"
            assert json.loads(first.data)["direct"] is Server.direct_send
            ids = server.post([{"event_type": "a"}, {"event_type": "b"}])
            assert plain.ids_until(ids[-1]) == ids
            seen = [probed.next() for _ in range(MAX_FRAMES - 1 + len(ids))]
            events = [int(each.id) for each in seen if each.event == "message"]
            assert events == ids
            readers = (probed, plain)
            if Server.direct_send:
                wait_until(lambda: direct_sends(server, *readers) == 2, "both get events directly")
            else:
                assert direct_sends(server, *readers) == 0


def direct_sends(server: Server, *readers: SocketStream) -> float:
    """Publish an event that the readers must get; return to how many it was sent directly."""
    name = 'sse_sink_deliveries_total{sink="events_stream",way="direct"}'
    before = server.metrics().get(name, 0)
    [id] = server.post([{"event_type": "c"}])
    assert [reader.message_id() for reader in readers] == [id] * len(readers)
    return server.metrics().get(name, 0) - before
