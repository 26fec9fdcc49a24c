"""The dashboard and the alerts in ``deploy`` fit the metrics of a running server."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import yaml

from support.processes import ROOT
from support.server import Server
from support.waiting import WAIT_SECONDS

DASHBOARD = json.loads((ROOT / "deploy" / "grafana.json").read_text())
ALERTS = yaml.safe_load((ROOT / "deploy" / "alerts.yaml").read_text())
RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]

# Labels that Prometheus adds itself.
ADDED = {"job", "instance"}
# What Grafana replaces in the dashboard.
VARIABLES = {
    "$__rate_interval": "5m",
    "$job": "sse-sink",
    "$instance": ".*",
}


def expressions() -> Iterator[str]:
    """Yield what is asked of Prometheus, as it is asked."""
    for rule in RULES:
        yield rule["expr"]
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            text = target["expr"]
            for variable, value in VARIABLES.items():
                text = text.replace(variable, value)
            assert "$" not in text, text
            yield text


class Exposed(NamedTuple):
    """The labels of each metric of the server, by its name."""

    labels: dict[str, set[str]]

    @classmethod
    def by(cls, server: Server) -> Exposed:
        labels: dict[str, set[str]] = {}
        for sample in server.metrics():
            name, _, rest = sample.partition("{")
            labels.setdefault(name, set()).update(re.findall(r'(\w+)="', rest))
        return cls(labels)


@pytest.fixture(scope="module")
def exposed(tmp_path_factory: pytest.TempPathFactory) -> Exposed:
    """Return what a server tells that has done each thing that it counts."""
    pulled = {"type": "http_pull", "access": "none"}
    live = {"type": "sse", "max_clients": 1}
    settings = {
        "server": {"workers": 1, "head_timeout": 1},
        "sink": {"events_stream": live, "pulled": pulled, "closed": {"access": "token"} | live},
    }
    with Server(tmp_path_factory.mktemp("monitored"), settings) as server:
        with server.stream() as stream:
            assert server.answers("/events_stream/") == 503
            assert server.answers("/closed/") == 401
            server.post([{"event_type": "a.b"}, {"event_type": "c.d"}])
            assert [stream.message_id(), stream.message_id()] == [1, 2]
        assert server.answers("/pulled/extract") == 200
        with socket.create_connection(("127.0.0.1", server.port), WAIT_SECONDS) as unfinished:
            unfinished.sendall(b"GET /healthz HTTP/1.1\r\n")
            while unfinished.recv(1000):
                pass
        server.wait_for_metrics({'sse_sink_connections_ended_total{reason="slow"}': 1})
        return Exposed.by(server)


def test_a_server_has_every_metric_and_label_that_is_asked_for(exposed: Exposed) -> None:
    for expression in expressions():
        named = re.findall(r"\b(sse_sink_\w+)(?:{(.*?)})?", expression)
        assert named or expression.startswith("up{")
        known = set(ADDED)
        for name, selector in named:
            assert name in exposed.labels, expression
            known |= exposed.labels[name]
            selected = re.findall(r"(\w+)(?:=~|!=|!~|=)", selector)
            assert set(selected) <= exposed.labels[name] | ADDED, expression
        for grouped in re.findall(r"\b(?:by|on) \(([^)]*)\)", expression):
            assert {label.strip() for label in grouped.split(",")} <= known, expression


def test_the_dashboard_shows_every_metric(exposed: Exposed) -> None:
    text = " ".join(expressions())
    for name in exposed.labels:
        whole = re.sub(r"_(bucket|sum|count|created)$", "", name)
        if whole.startswith("sse_sink_") and not name.endswith("_created"):
            assert whole in text or whole in (
                "sse_sink_pull_extract_seconds",
                "sse_sink_pull_waiting",
            ), name


def test_the_page_says_what_to_do_at_each_alert() -> None:
    page = (ROOT / "docs" / "monitoring.md").read_text()
    assert re.findall(r"^\| `(SseSink\w+)` \|", page, re.M) == [rule["alert"] for rule in RULES]


def promtool(*words: str, cwd: Path) -> str:
    if not shutil.which("promtool"):
        assert "prometheus" not in os.environ.get("SSE_SINK_NEEDS", ""), "promtool is missing"
        pytest.skip("promtool is missing, so that the rules can't be checked")
    command = ["promtool", *words]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.once
@pytest.mark.timeout(400)
def test_prometheus_understands_every_expression(tmp_path: Path) -> None:
    rules = [
        {"record": f"expression:{number}", "expr": expression}
        for number, expression in enumerate(expressions())
    ]
    text = yaml.safe_dump({"groups": [{"name": "all", "rules": rules}]})
    (tmp_path / "all.yaml").write_text(text)
    printed = promtool("check", "rules", "all.yaml", cwd=tmp_path)
    assert f"{len(rules)} rules found" in printed
    promtool("check", "rules", str(ROOT / "deploy" / "alerts.yaml"), cwd=tmp_path)


def series(name: str, values: str, **labels: str) -> dict[str, str]:
    written = ",".join(f'{k}="{v}"' for k, v in {"instance": "node1", **labels}.items())
    return {"series": f"{name}{{{written}}}", "values": values}


# What was counted in ninety minutes, a value a minute, and the alerts that fire at its end.
SITUATIONS: dict[str, tuple[list[dict[str, str]], set[str]]] = {
    "all is well": (
        [
            series("up", "1x90", job="sse-sink"),
            series("sse_sink_log_available", "1x90"),
            series("sse_sink_ingest_seconds_count", "0+60x90", status="201"),
            series("sse_sink_ingest_seconds_bucket", "0+60x90", status="201", le="0.01"),
            series("sse_sink_ingest_seconds_bucket", "0+60x90", status="201", le="+Inf"),
            series("sse_sink_clients", "500x90", sink="live"),
            series("sse_sink_max_clients", "1000x90"),
            series("sse_sink_clients_refused_total", "7x90", sink="live"),
            series("sse_sink_missed_total", "3x90", sink="live"),
            series("sse_sink_pull_dead", "0x90", sink="jobs"),
            series("sse_sink_pull_lag", "50x90", sink="jobs"),
            series("sse_sink_build_info", "1x90", version="1.0"),
        ],
        set(),
    ),
    "the server is gone": ([series("up", "0x90", job="sse-sink")], {"SseSinkDown"}),
    "the log is away": (
        [
            series("sse_sink_log_available", "0x90"),
            series("sse_sink_ingest_seconds_count", "0+60x90", status="503"),
        ],
        {"SseSinkLogAway", "SseSinkPublishingFails"},
    ),
    "the disk is slow": (
        [
            series("sse_sink_ingest_seconds_bucket", "0+1x90", status="201", le="1.0"),
            series("sse_sink_ingest_seconds_bucket", "0+60x90", status="201", le="2.0"),
            series("sse_sink_ingest_seconds_bucket", "0+60x90", status="201", le="+Inf"),
        ],
        {"SseSinkPublishingIsSlow"},
    ),
    "there are too many clients": (
        [
            series("sse_sink_clients", "600x90", sink="live"),
            series("sse_sink_clients", "350x90", sink="other"),
            series("sse_sink_max_clients", "1000x90"),
            series("sse_sink_clients_refused_total", "0+5x90", sink="live"),
        ],
        {"SseSinkNearlyFull", "SseSinkRefusesClients"},
    ),
    "clients are slow": (
        [
            series("sse_sink_delivery_seconds_bucket", "0+1x90", sink="live", le="5.0"),
            series("sse_sink_delivery_seconds_bucket", "0+60x90", sink="live", le="10.0"),
            series("sse_sink_delivery_seconds_bucket", "0+60x90", sink="live", le="+Inf"),
            series("sse_sink_missed_total", "0+5x90", sink="live"),
            series("sse_sink_clients_ended_total", "0+1x90", sink="live", reason="failed"),
        ],
        {"SseSinkDeliveryIsSlow", "SseSinkClientsMissEvents", "SseSinkStreamsFail"},
    ),
    "an upgrade isn't over": (
        [
            series("sse_sink_build_info", "1x90", version="1.0"),
            series("sse_sink_build_info", "1x90", version="1.1", python="3.13"),
        ],
        {"SseSinkVersionsDiffer"},
    ),
    "consumers don't run": (
        [
            series("sse_sink_pull_dead", "2x90", sink="jobs"),
            series("sse_sink_pull_lag", "20000x90", sink="jobs"),
            series("sse_sink_pull_missed_total", "0+9x90", sink="jobs"),
        ],
        {"SseSinkDeadLetters", "SseSinkConsumersFallBehind", "SseSinkConsumersMissEvents"},
    ),
}


@pytest.mark.once
@pytest.mark.timeout(400)
def test_each_alert_fires_when_it_should_and_only_then(tmp_path: Path) -> None:
    shutil.copy(ROOT / "deploy" / "alerts.yaml", tmp_path)
    tests = []
    for situation, (given, fires) in SITUATIONS.items():
        expected = {
            "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
            "eval_time": "90m",
            "exp_samples": [{"labels": f'{{alertname="{name}"}}', "value": 1} for name in fires],
        }
        test = {"name": situation, "interval": "1m", "input_series": given}
        tests.append(test | {"promql_expr_test": [expected]})
    assert set().union(*(fires for _, fires in SITUATIONS.values())) == {
        rule["alert"] for rule in RULES
    }
    rules = {"rule_files": ["alerts.yaml"], "evaluation_interval": "1m", "tests": tests}
    (tmp_path / "test.yaml").write_text(yaml.safe_dump(rules))
    promtool("test", "rules", "test.yaml", cwd=tmp_path)
