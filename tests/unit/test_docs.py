"""What the documentation must name."""

from __future__ import annotations

import json
import re
from pathlib import Path

import msgspec
import pytest
import yaml
from blinker import NamedSignal
from flask import Flask

from flask_sse_sink import create_app, signals
from flask_sse_sink.cli import sse
from flask_sse_sink.config import settings
from flask_sse_sink.config.access_settings import AccessSettings
from flask_sse_sink.config.loading import from_mapping
from flask_sse_sink.config.schema import schema
from flask_sse_sink.config.sink_types import SINK_TYPES
from support.apps import MakeApp

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
SECTIONS: dict[str, type[msgspec.Struct]] = {
    "server": settings.ServerSettings,
    "database": settings.DatabaseSettings,
    "ingest": settings.IngestSettings,
    "access": AccessSettings,
    "sink.NAME": SINK_TYPES["sse"].settings,
}
#: Settings of other types of sinks stand in a table of their own.
PULLED = [field.name for field in msgspec.structs.fields(SINK_TYPES["http_pull"].settings)]
EVERY = [
    (section, field.name)
    for section, kind in SECTIONS.items()
    for field in msgspec.structs.fields(kind)
]


@pytest.fixture
def make_server_app(make_app: MakeApp, tmp_path: Path) -> MakeApp:
    """Make apps of the ready server; `make_app` closes them."""

    def make(**sections: object) -> Flask:
        file = tmp_path / "config.yaml"
        file.write_text(yaml.safe_dump(sections))
        return create_app(file)

    return make


@pytest.mark.parametrize(("section", "name"), EVERY)
def test_every_setting_stands_in_the_table_of_settings(section: str, name: str) -> None:
    assert f"| `{section}.{name}` |" in (DOCS / "configuration.md").read_text()


@pytest.mark.parametrize(("section", "name"), EVERY)
def test_every_setting_stands_in_the_shipped_file(section: str, name: str) -> None:
    text = (ROOT / "config.yaml").read_text()
    assert re.search(rf"^ +(# )?{name}:", text, re.MULTILINE)


@pytest.mark.parametrize("name", PULLED)
def test_every_setting_of_a_pulled_sink_is_documented(name: str) -> None:
    table = (DOCS / "pulled-sinks.md").read_text()
    assert name == "type" or f"| `{name}` |" in table
    text = (ROOT / "config.yaml").read_text()
    assert re.search(rf"^  #    {name}:", text, re.MULTILINE)


def test_the_pulled_sink_in_the_shipped_file_has_the_defaults() -> None:
    text = (ROOT / "config.yaml").read_text()
    sink = yaml.safe_load("\n".join(re.findall(r"^  #  (.*)$", text, re.MULTILINE)))
    settings = from_mapping({"sink": sink}, "x", ROOT).sink["warehouse"]
    default = from_mapping({"sink": {"http_pull": None}}, "x", ROOT).sink["http_pull"]
    encode = msgspec.json.Encoder(enc_hook=lambda v: str(getattr(v, "filter", v))).encode
    assert encode(settings) == encode(default)


def test_the_commented_settings_are_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INGEST_TOKEN", "a-token-of-the-tests")
    text = (ROOT / "config.yaml").read_text()
    written = re.sub(r"^( +)# (\w+:)", r"\1\2", text, flags=re.MULTILINE)
    as_shipped = from_mapping(yaml.safe_load(text), "x", ROOT)
    spelled_out = from_mapping(yaml.safe_load(written), "x", ROOT)

    def plain(config: settings.Settings) -> object:
        return msgspec.to_builtins(config, enc_hook=lambda v: getattr(v, "filter", str(v)))

    assert plain(as_shipped) == plain(spelled_out)


def test_the_schema_in_docs_is_the_one_that_the_types_make() -> None:
    stored = json.loads((DOCS / "config.schema.json").read_text())
    assert stored == json.loads(json.dumps(schema())), "run `make docs`"


def test_every_command_stands_in_the_table_of_commands() -> None:
    text = (DOCS / "commands.md").read_text()
    assert [name for name in sse.commands if f"`flask sse {name}" not in text] == []


def test_every_signal_stands_in_the_table_of_signals() -> None:
    text = (DOCS / "signals.md").read_text()
    names = [name for name, value in vars(signals).items() if isinstance(value, NamedSignal)]
    assert len(names) >= 3
    assert [name for name in names if f"| `{name}` |" not in text] == []


def test_the_table_of_endpoints_has_every_endpoint_and_no_other(make_server_app: MakeApp) -> None:
    app = make_server_app(
        access={"secret": "a-secret-of-the-tests-with-32-bytes-and-more"},
        sink={"NAME": {"type": "sse"}, "PULLED": {"type": "http_pull"}},
    )
    endpoints = {
        f"{method} {rule.rule}"
        for rule in app.url_map.iter_rules()
        if rule.endpoint != "static"
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    written = re.findall(r"^\| `([A-Z]+ /.*?)` \|", (DOCS / "http.md").read_text(), re.MULTILINE)
    assert len(written) == len(set(written))
    assert set(written) == endpoints


def test_the_tables_of_metrics_have_every_metric_and_no_other(make_server_app: MakeApp) -> None:
    sink = {"p": {"type": "http_pull", "access": "none"}}
    client = make_server_app(sink=sink).test_client()
    assert client.get("/p/extract").status_code == 200
    text = client.get("/metrics").get_data(as_text=True)
    metrics = set(re.findall(r"^# TYPE (sse_sink_\w+) ", text, re.MULTILINE))
    rows = re.findall(r"^\| (`sse_sink_.*?) \|", (DOCS / "metrics.md").read_text(), re.MULTILINE)
    written = re.findall(r"`(\w+)`", " ".join(rows))
    assert len(written) == len(set(written))
    assert set(written) == {name for name in metrics if not name.endswith("_created")}


def test_every_module_stands_in_the_tree_of_the_internals() -> None:
    _, _, rest = (DOCS / "internals.md").read_text().partition("\nflask_sse_sink/\n")
    tree = rest.partition("```")[0]
    package = ROOT / "flask_sse_sink"
    for path in package.rglob("*.py"):
        if path.name != "__init__.py" and "cli" not in path.parts:
            depth = len(path.relative_to(package).parts)
            assert f"\n{'  ' * depth}{path.name} " in f"\n{tree}", path
