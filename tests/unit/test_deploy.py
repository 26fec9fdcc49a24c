"""The files to deploy with, as they are read."""

from __future__ import annotations

import re

import pytest
import yaml

from flask_sse_sink.config import loading
from support.processes import ROOT

DEPLOY = ROOT / "deploy"


def test_the_nodes_configuration_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGEST_TOKEN", "a-token-of-the-tests")
    settings = loading.load(DEPLOY / "config.yaml")
    assert settings.database.url == "redis://redis:6379/0"
    assert settings.server.proxies == 1


def test_compose_starts_what_nginx_expects() -> None:
    composed = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    named = re.findall(r"server (\w+):8000", (DEPLOY / "nginx.conf").read_text())
    assert set(named) == {"node1", "node2"} <= set(composed["services"])
    assert "redis" in composed["services"]
