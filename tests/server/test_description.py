"""The documents of a running server, judged by tools that others wrote."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from support.processes import ROOT
from support.server import Server
from support.waiting import WAIT_SECONDS

TOKEN = "a-token-that-grants-everything"
SETTINGS = {
    "access": {
        "secret": "a-secret-of-the-tests-with-32-bytes-or-more",
        "tokens": [
            {
                "token": TOKEN,
                "name": "tester",
                "subscribe": [{"sink": ["events_stream", "closed", "pull"]}],
                "publish": [{}],
            }
        ],
    },
    "sink": {
        "events_stream": {"type": "sse", "replay": True, "cors_origins": ["https://a.example"]},
        "closed": {"type": "sse", "access": "token"},
        "pull": {"type": "http_pull", "lease": 60, "max_wait": "10ms"},
    },
}

# A server whose streams end after their first frame: the tool reads every answer to its end.
APP = """
from flask_sse_sink import client_connected, create_app

app = create_app()

def end(sender, sink, client):
    client.drop("drained")

client_connected.connect(end)
"""

CONFIGURATION = """
[parameters]
# The tool sends no gzip.
"header.Content-Encoding" = "identity"

[checks.positive_data_acceptance]
# The tool also sends queries that are longer than gunicorn takes.
expected-statuses = ["2xx", "304", "401", "403", "404", "414"]

[checks.negative_data_rejection]
expected-statuses = ["400", "401", "403", "404", "405", "411", "413", "414", "415", "422"]

# The tool takes the null of an empty batch for an id.
[phases]
examples.extra-data-sources.responses = false
coverage.extra-data-sources.responses = false
fuzzing.extra-data-sources.responses = false

[[operations]]
# It needs a batch_id or a report of missed events; a schema of parameters can't say so.
include-operation-id-regex = "^mark_processed_"
checks.positive_data_acceptance.expected-statuses = ["200", "400", "401", "403", "404"]

[[operations]]
# The first of several last ids counts; the others are ignored, whatever they are.
include-operation-id = "stream_events_stream"
checks.negative_data_rejection.expected-statuses = ["200", "400", "414"]
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a server with two workers whose streams end by themselves."""
    folder = tmp_path_factory.mktemp("described")
    (folder / "ended_streams.py").write_text(APP)
    gunicorn = [sys.executable, "-m", "gunicorn", "-c", str(ROOT / "gunicorn.conf.py")]
    command = [*gunicorn, "--chdir", str(folder), "ended_streams:app"]
    running = Server(folder, SETTINGS, command=lambda port: command)
    yield running
    running.stop()


def document(server: Server, path: str) -> Any:
    with urllib.request.urlopen(server.url(path), timeout=WAIT_SECONDS) as answer:
        return json.load(answer)


def test_the_official_schema_of_asyncapi_takes_the_document(
    server: Server, node_folder: Path
) -> None:
    schemas = node_folder / "node_modules" / "@asyncapi" / "specs" / "schemas"
    schema = json.loads((schemas / "3.0.0.json").read_text())
    found = document(server, "/asyncapi.json")
    validator = jsonschema.Draft7Validator(schema)
    assert [f"{each.json_path}: {each.message}" for each in validator.iter_errors(found)] == []
    assert set(found["operations"]) == {
        "ingest",
        "stream_events_stream",
        "stream_closed",
        "extract_pull",
    }
    found["operations"]["ingest"]["action"] = "publish"
    assert not validator.is_valid(found)


@pytest.mark.once
@pytest.mark.timeout(600)
def test_schemathesis_finds_no_answer_that_is_not_described(
    server: Server, tmp_path: Path
) -> None:
    # Only in 3.2 a document says what frames a stream has.
    found = document(server, "/openapi.json?version=3.2")
    bodies = found["paths"]["/ingest"]["post"]["requestBody"]["content"]
    # The tool can't write NDJSON; the rules of CloudEvents are more than a schema can say.
    found["paths"]["/ingest"]["post"]["requestBody"]["content"] = {
        "application/json": bodies["application/json"]
    }
    (tmp_path / "openapi.json").write_text(json.dumps(found))
    (tmp_path / "schemathesis.toml").write_text(CONFIGURATION)
    # One worker: Python 3.11 can't compile in several threads at once, which the tool does.
    options = ["--seed", "1", "--max-examples", "3", "--workers", "1"]
    options += ["--phases", "examples,coverage,fuzzing", "--generation-database", "none"]
    options += ["--request-timeout", "60", "--no-color"]
    options += ["--header", f"Authorization: Bearer {TOKEN}", "--url", server.url("")]
    result = subprocess.run(
        [Path(sys.executable).with_name("schemathesis"), "run", "openapi.json", *options],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=560,
    )
    assert result.returncode == 0, result.stdout[-20000:] + server.log[-2000:]
    count = sum(len(methods) for methods in found["paths"].values())
    assert f"Tested: {count}" in result.stdout, result.stdout
