"""The benchmark's parts that need no server, and the commands that the documentation names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench import (
    audience,
    columns,
    compare,
    frames,
    gaps,
    peers,
    reconnect,
    replay,
    results,
    scenarios,
    wire,
)
from bench.results import Row

ROOT = Path(__file__).parents[2]
TEXT = b"event: message\nid: 7\ndata: seq=00000042;\n\nid: 8\ndata: seq=00000043;\n\n"
HEAD = b"HTTP/1.1 200 OK\r\n"


def chunked(*parts: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)


RESPONSES = {
    "chunked": HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(TEXT[:30], TEXT[30:]),
    "until the end": HEAD + b"\r\n" + TEXT,
}


@pytest.mark.parametrize("response", RESPONSES.values(), ids=RESPONSES)
@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_a_client_finds_every_event_however_its_bytes_are_split(
    response: bytes, size: int
) -> None:
    reader, state = wire.Reader(wire.feed), 0
    found: list[int] = []
    for at in range(0, len(response), size):
        state, numbers = reader.feed(state, response[at : at + size])
        found += numbers
    assert found == [42, 43]


@pytest.mark.parametrize(
    "response", [b"HTTP/1.1 503 Busy\r\n\r\n", RESPONSES["chunked"] + b"0\r\n\r\n"]
)
def test_a_refusal_and_the_end_of_a_stream_are_no_stream(response: bytes) -> None:
    with pytest.raises(wire.BadAnswer):
        wire.feed(wire.State(), response)


def test_a_replay_sees_the_last_id_whose_line_is_complete() -> None:
    assert replay.last_id(TEXT) == 8
    assert replay.last_id(TEXT + b"\nid: 99") == 8
    assert replay.last_id(b"") == -1


def test_deliveries_are_due_to_the_clients_that_ask_for_an_events_type() -> None:
    (scenario,) = scenarios.named(["spread-20"])
    expected = audience.audience(scenario, 1000).expected
    assert expected == [50] * 20
    assert audience.audience(scenario, 1000).due(45) == 45 * 50
    (scenario,) = scenarios.named(["filters-20"])
    assert audience.audience(scenario, scenario.clients).expected == [1000]


def row(system: str, run: int, **figures: float) -> Row:
    base = Row(system=system, scenario="memory-1000", kind="memory", clients=1000, workers=1)
    for name, value in {"run": run, **figures}.items():
        setattr(base, name, value)
    return base


def test_checkouts_are_compared_by_medians_and_run_by_run() -> None:
    here, there = [30.0, 33.0, 36.0], [30.0, 30.0, 40.0]
    rows = [row("sse-sink", run, memory_kib=kib) for run, kib in enumerate(here)]
    rows += [row("sse-sink there", run, memory_kib=kib) for run, kib in enumerate(there)]
    # A run of which one side failed.
    rows.append(row("sse-sink", 3, memory_kib=1000.0))
    (found,) = compare.compare(rows)
    assert (found.here, found.there) == (here, there)
    assert found.ratio == 1.1
    assert found.ratios == [1.0, 1.1, 0.9]
    assert found.column.better == "less"


def test_a_table_shows_medians_and_no_empty_column() -> None:
    rows = [row("nchan", run, memory_kib=kib) for run, kib in enumerate([10.0, 11.0, 20.0])]
    shown = columns.columns("memory", rows)
    assert [each.heading for each in shown] == ["clients", "KiB/client"]
    assert columns.figure(shown[1], rows) == 11.0


@pytest.mark.parametrize("path", sorted(results.FOLDER.glob("*.json")), ids=lambda path: path.name)
def test_a_stored_result_can_be_read_and_written_again(path: Path, tmp_path: Path) -> None:
    result = results.read(path)
    assert result.rows
    assert results.read(results.write(result, tmp_path)) == result
    assert results.newest(tmp_path).name == path.name


def test_every_scenario_is_unique_and_names_systems_that_exist() -> None:
    names = [each.name for each in scenarios.SCENARIOS]
    assert len(set(names)) == len(names)
    assert set(scenarios.COMPARED) <= set(names)
    known = {each.name for each in peers.systems(ROOT)}
    for each in scenarios.SCENARIOS:
        assert set(each.default) <= set(each.systems) <= known


def test_scenarios_that_the_documentation_names_exist() -> None:
    pages = [ROOT / "README.md", ROOT / "bench/README.md", *(ROOT / "docs").glob("*.md")]
    named = [
        name
        for page in pages
        for name in re.findall(r"--scenario\s+([a-z][a-z0-9-]+)", page.read_text())
    ]
    assert {"memory", "nodes", "replay", "steps"} <= set(named)
    assert scenarios.named(named)


def test_heartbeats_are_found_however_their_bytes_are_split() -> None:
    text = b"event: heartbeat\nid: 7\ndata: ping\n\n" + TEXT
    response = HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(text[:9], text[9:])
    for size in (1, 5, 1000):
        reader, state = wire.Reader(wire.feed), 0
        found: list[int] = []
        for at in range(0, len(response), size):
            state, numbers = reader.feed(state, response[at : at + size])
            found += numbers
        assert found == [wire.HEARTBEAT, 42, 43]


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_a_client_that_comes_back_keeps_ids_of_whole_frames_and_the_hint(size: int) -> None:
    text = TEXT + b"event: info\ndata: closing\nretry: 150\n\nevent: message\nid: 9\nda"
    response = HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(text, b"")
    reader: wire.Reader[frames.Frame] = wire.Reader(frames.feed)
    state, found = 0, list[frames.Frame]()
    for at in range(0, len(response), size):
        state, new = reader.feed(state, response[at : at + size])
        found += new
    assert [(each.id, each.number) for each in found[:2]] == [(7, 42), (8, 43)]
    assert found[2].retry_ms == 150
    assert found[3:4] == [frames.ENDED]


def test_gaps_are_those_of_each_client() -> None:
    seen = gaps.Gaps()
    for client, now in ((1, 0), (2, 4), (1, 5), (2, 10), (1, 11)):
        seen.add(client, now)
    assert list(seen.nanoseconds) == [5, 6, 6]
    assert seen.clients == 2


def test_all_are_caught_up_when_no_event_is_on_its_way() -> None:
    events = [(0, 1), (10, 50), (40, 60), (70, 71)]
    assert reconnect.caught_up(events, 20) == 60
    assert reconnect.caught_up(events, 65) == 65
    assert reconnect.caught_up([*events, (55, 0)], 20) == 0


def test_each_client_with_a_filter_of_its_own_gets_its_turn() -> None:
    for name in ("own-type-4000", "own-entity-4000"):
        (scenario,) = scenarios.named([name])
        asked = audience.audience(scenario, 4000)
        assert len(set(asked.queries)) == len(set(asked.topics)) == asked.due(4000) == 4000
    (scenario,) = scenarios.named(["own-nobody-4000"])
    nobody = audience.audience(scenario, 4000)
    assert nobody.due(100) == 0
    assert not set(nobody.topics) & set(nobody.heard)


def test_a_figure_is_followed_by_its_ratio_to_the_base_of_its_own_scenario() -> None:
    rows = [
        Row(system=system, scenario=scenario, kind="ingest", clients=0, workers=1, cpu_us=cost)
        for scenario, system, cost in (
            ("ingest-1x1", "sse-sink", 30.0),
            ("ingest-1x1", "flask", 10.0),
            ("ingest-1x8", "sse-sink", 60.0),
            ("ingest-1x8", "flask", 30.0),
            ("ingest-100x8", "sse-sink", 1.0),
        )
    ]
    (shown,) = [each for each in columns.columns("ingest", rows) if each.heading == "× flask"]
    assert [shown.value(row) for row in rows] == [3.0, 1.0, 2.0, 1.0, None]


def test_what_one_checkout_lacks_is_shown_for_the_other() -> None:
    rows = [row("sse-sink", 1), row("sse-sink there", 1), row("sse-sink", 1)]
    rows[2].scenario = "memory-4000"
    assert list(compare.only_in_one(rows)) == [rows[2]]
