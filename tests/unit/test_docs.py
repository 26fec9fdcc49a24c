"""What the documentation must name."""

from __future__ import annotations

import json
import re
from pathlib import Path

import msgspec
import pytest
import yaml

from flask_sse_sink.cli import sse
from flask_sse_sink.config import settings
from flask_sse_sink.config.access_settings import AccessSettings
from flask_sse_sink.config.loading import from_mapping
from flask_sse_sink.config.schema import schema
from flask_sse_sink.config.sink_types import SINK_TYPES

ROOT = Path(__file__).parents[2]
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


@pytest.mark.parametrize(("section", "name"), EVERY)
def test_every_setting_stands_in_the_readmes_table(section: str, name: str) -> None:
    assert f"| `{section}.{name}` |" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize(("section", "name"), EVERY)
def test_every_setting_stands_in_the_shipped_file(section: str, name: str) -> None:
    text = (ROOT / "config.yaml").read_text()
    assert re.search(rf"^ +(# )?{name}:", text, re.MULTILINE)


@pytest.mark.parametrize("name", PULLED)
def test_every_setting_of_a_pulled_sink_is_documented(name: str) -> None:
    table = (ROOT / "docs" / "pulled-sinks.md").read_text()
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
    stored = json.loads((ROOT / "docs/config.schema.json").read_text())
    assert stored == json.loads(json.dumps(schema())), "run `make docs`"


def test_every_command_stands_in_the_readme() -> None:
    text = (ROOT / "README.md").read_text()
    assert [name for name in sse.commands if f"`flask sse {name}" not in text] == []


def test_every_module_stands_in_the_tree_of_the_internals() -> None:
    _, _, rest = (ROOT / "docs" / "internals.md").read_text().partition("\nflask_sse_sink/\n")
    tree = rest.partition("```")[0]
    package = ROOT / "flask_sse_sink"
    for path in package.rglob("*.py"):
        if path.name != "__init__.py" and "cli" not in path.parts:
            depth = len(path.relative_to(package).parts)
            assert f"\n{'  ' * depth}{path.name} " in f"\n{tree}", path
