"""The benchmark's parts that need no server, and the commands that the documentation names."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bench import columns, compare, fanout, peers, replay, results, scenarios, wire
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
    reader, state = wire.Reader(), 0
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
    expected = fanout.expected(scenario, 1000)
    assert expected == [50] * 20
    assert fanout.due(45, expected) == 45 * 50
    (scenario,) = scenarios.named(["filters-20"])
    assert fanout.expected(scenario, scenario.clients) == [1000]


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
