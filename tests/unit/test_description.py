"""The OpenAPI and AsyncAPI documents: whole, valid, and true of the app."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import jsonschema
import pytest
from flask import Flask, Request
from openapi_spec_validator import validate
from werkzeug.datastructures import ImmutableMultiDict

from flask_sse_sink import SSESink, create_app
from flask_sse_sink.access.credentials import URL_TOKENS
from flask_sse_sink.cli import sse as sse_commands
from flask_sse_sink.extension import runtime_of
from support.apps import Listen, MakeApp, publish

SECRET = "a-secret-of-the-tests-with-32-bytes-or-more"
TOKEN = "a-token-of-tests"
ACCESS = {
    "secret": SECRET,
    "tokens": [
        {
            "token": "a-readers-token",
            "name": "a-readers-name",
            "subscribe": [{"sink": ["closed", "closed_pull"], "entity_id": "a-granted-entity"}],
        }
    ],
    "issuers": [
        {
            "issuer": "https://issuer.example/",
            "audience": "an-audience",
            "jwks": "https://issuer.example/jwks.json",
        }
    ],
}
SINKS = {
    "open": {"type": "sse", "match": ["user.*", "end"], "cors_origins": ["https://app.example"]},
    "replayed": {"type": "sse", "replay": True, "path": "/live", "format": "cloudevents"},
    "closed": {"type": "sse", "access": "token", "match": "hidden.*"},
    "pull": {
        "type": "http_pull",
        "access": "none",
        "path": {"extract": "/take"},
        "max_wait": "10ms",
    },
    "closed_pull": {"type": "http_pull", "lease": 60, "match": "hidden.*", "max_wait": "10ms"},
}
CONFIGURATIONS = {
    "open": {"ingest": {"auth": "none"}, "sink": {"open": SINKS["open"]}},
    "closed": {"ingest": {"tokens": [TOKEN]}, "access": ACCESS, "sink": SINKS},
    "without tickets": {
        "ingest": {"path": "/events", "tokens": [TOKEN]},
        "access": {"cookie": ""},
        "sink": {name: sink for name, sink in SINKS.items() if name != "open"},
    },
}

Document = dict[str, Any]


@pytest.fixture(params=CONFIGURATIONS)
def app(request: pytest.FixtureRequest, make_app: MakeApp, tmp_path: Path) -> Flask:
    """Return a ready server for each of the configurations."""
    return server(tmp_path, CONFIGURATIONS[request.param])


@pytest.fixture
def closed(make_app: MakeApp, tmp_path: Path) -> Flask:
    """Return the ready server that has everything."""
    return server(tmp_path, CONFIGURATIONS["closed"])


def server(folder: Path, settings: dict[str, Any]) -> Flask:
    file = folder / "config.yaml"
    # YAML is a superset of JSON.
    file.write_text(json.dumps({"database": {"url": "sqlite:///events.db"}, **settings}))
    return create_app(file)


def document(app: Flask, path: str = "/openapi.json") -> Document:
    response = app.test_client().get(path)
    assert (response.status_code, response.mimetype) == (200, "application/json")
    loaded: Document = json.loads(response.data)
    return loaded


def operations(document: Document) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def routes(app: Flask) -> set[tuple[str, str]]:
    return {
        (method, re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", str(rule)))
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }


def resolved(document: Document, part: dict[str, Any]) -> dict[str, Any]:
    """Return a part of the document, or the one that it refers to."""
    if "$ref" not in part:
        return part
    found: Any = document
    for key in part["$ref"].removeprefix("#/").split("/"):
        found = found[key]
    return dict(found)


def parameters(document: Document, operation: dict[str, Any]) -> list[dict[str, Any]]:
    return [resolved(document, each) for each in operation.get("parameters", [])]


def check(document: Document, schema: Any, value: Any) -> None:
    """Check a value with a schema of the document."""
    whole = {"components": document["components"], "allOf": [schema]}
    validator = jsonschema.Draft202012Validator
    validator(whole, format_checker=validator.FORMAT_CHECKER).validate(value)


def test_every_route_of_the_server_is_described_and_no_other(app: Flask) -> None:
    described = {(method, path) for method, path, _ in operations(document(app))}
    described -= {("OPTIONS", path) for _, path in described}
    # A route without a description needs a DescribedBlueprint: docs/internals.md says how.
    assert routes(app) - described == set()
    assert described - routes(app) == set()


def test_every_route_of_the_extension_is_described_and_no_other(
    make_app: MakeApp, tmp_path: Path
) -> None:
    app = Flask("theirs")
    database = {"url": f"sqlite:///{tmp_path / 'theirs.db'}"}
    sse = SSESink(app, CONFIGURATIONS["closed"] | {"database": database})
    described = {(method, path) for method, path, _ in operations(sse.openapi())}
    theirs = {("GET", "/static/{filename}")}
    assert described - {("OPTIONS", "/ingest")} == routes(app) - theirs


def test_an_app_of_others_gets_the_asyncapi_document_for_its_url(
    make_app: MakeApp, tmp_path: Path
) -> None:
    app = Flask("theirs")
    database = {"url": f"sqlite:///{tmp_path / 'theirs.db'}"}
    sse = SSESink(app, CONFIGURATIONS["open"] | {"database": database})
    found = sse.asyncapi("https://events.example/below/")
    assert found["servers"] == {
        "this": {"host": "events.example", "protocol": "https", "pathname": "/below"}
    }
    assert list(found["channels"]) == ["stream_open", "ingest"]


def test_what_is_off_is_not_described(make_app: MakeApp, tmp_path: Path) -> None:
    off = {"server": {"console": False}, "ingest": {"auth": "none", "webhook_senders": []}}
    paths = document(server(tmp_path, {**CONFIGURATIONS["open"], **off}))["paths"]
    assert [path for path in paths if path.startswith("/console")] == []
    assert list(paths["/"]["get"]["responses"]["200"]["content"]) == ["application/json"]
    assert list(paths["/open/"]["get"]["responses"]["200"]["content"]) == ["text/event-stream"]
    assert list(paths["/ingest"]) == ["post"]
    assert "/tickets" not in paths


def test_the_commands_print_what_the_server_serves(closed: Flask) -> None:
    run = closed.test_cli_runner()
    for arguments, path in (
        (["openapi"], "/openapi.json"),
        (["openapi", "--version", "3.2"], "/openapi.json?version=3.2"),
        (["asyncapi"], "/asyncapi.json"),
    ):
        result = run.invoke(sse_commands, arguments)
        assert result.exit_code == 0, result.output
        printed, served = json.loads(result.output), document(closed, path)
        assert "127.0.0.1:8000" in json.dumps(printed.pop("servers"))
        del served["servers"]
        assert printed == served
    assert run.invoke(sse_commands, ["openapi", "--version", "2.0"]).exit_code == 2


def test_no_other_app_serves_the_documents_unless_it_wants_to(make_app: MakeApp) -> None:
    client = make_app().test_client()
    assert client.get("/openapi.json").status_code == 404
    assert client.get("/asyncapi.json").status_code == 404


@pytest.mark.parametrize("version", ["3.1", "3.2"])
def test_the_openapi_document_is_valid(app: Flask, version: str) -> None:
    found = document(app, f"/openapi.json?version={version}")
    assert found["openapi"].startswith(version)
    validate(found)


@pytest.mark.parametrize("version", ["3.1", "3.2"])
def test_every_example_is_as_its_schema_says(closed: Flask, version: str) -> None:
    found = document(closed, f"/openapi.json?version={version}")
    count = 0
    for _, _, operation in operations(found):
        for parameter in parameters(found, operation):
            if "example" in parameter:
                check(found, parameter["schema"], parameter["example"])
                count += 1
        answers = [resolved(found, each) for each in operation["responses"].values()]
        for part in [operation.get("requestBody", {}), *answers]:
            for content in part.get("content", {}).values():
                for example in content.get("examples", {}).values():
                    if "schema" in content and "value" in example:
                        check(found, content["schema"], example["value"])
                        count += 1
    assert count > 50


class Recording(dict[str, list[str]]):
    """A query that notes which of its parameters are looked at."""

    read: set[str]

    def get(self, key: str, default: Any = None) -> Any:
        self.read.add(key)
        return super().get(key, default)

    def __getitem__(self, key: str) -> list[str]:
        self.read.add(key)
        return super().__getitem__(key)


class RecordingArgs(ImmutableMultiDict[str, str]):
    """The query of a request, which notes the same."""

    read: ClassVar[set[str]] = set()

    def get(self, key: str, *args: Any, **kwargs: Any) -> Any:
        self.read.add(key)
        return super().get(key, *args, **kwargs)

    def getlist(self, key: str, *args: Any, **kwargs: Any) -> Any:
        self.read.add(key)
        return super().getlist(key, *args, **kwargs)

    def __getitem__(self, key: str) -> str:
        self.read.add(key)
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        self.read.add(str(key))
        return super().__contains__(key)

    def to_dict(self, flat: bool = True) -> Any:
        assert not flat, "then it can't be seen which parameters are looked at"
        recording = Recording(super().to_dict(flat=False))
        recording.read = self.read
        return recording


class RecordingRequest(Request):
    parameter_storage_class = RecordingArgs


def test_every_parameter_that_the_code_looks_at_is_described(
    closed: Flask, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(closed, "request_class", RecordingRequest)
    found = document(closed)
    schemes = found["components"]["securitySchemes"].values()
    keys = {scheme["name"] for scheme in schemes if scheme.get("in") == "query"}
    seen: set[str] = set()
    for method, path, operation in operations(found):
        described = [each for each in parameters(found, operation) if each["in"] == "query"]
        examples = {each["name"]: each.get("example", "1") for each in described}
        needed = {each["name"]: examples[each["name"]] for each in described if each["required"]}
        monkeypatch.setattr(RecordingArgs, "read", set())
        for query in (needed, examples):
            with closed.test_client().open(
                path,
                method=method,
                query_string=query,
                headers={"Authorization": "Bearer a-readers-token"},
                buffered=False,
            ):
                pass
        secret = keys | set(URL_TOKENS) if operation["security"] else set()
        aliases = {name for each in described for name in each.get("x-aliases", ())}
        assert RecordingArgs.read - secret - aliases <= examples.keys(), path
        assert examples.keys() <= RecordingArgs.read, path
        seen |= RecordingArgs.read
    assert {"since", "event_type", "wait", "missed", "delay", "after", "version"} <= seen


def test_strangers_learn_of_a_closed_sink_its_name_and_paths_alone(closed: Flask) -> None:
    for path in ("/openapi.json", "/openapi.json?version=3.2", "/asyncapi.json"):
        text = closed.test_client().get(path).text
        assert "/closed/" in text
        for hidden in (
            "hidden.*",
            SECRET,
            TOKEN,
            "a-readers-token",
            "a-readers-name",
            "a-granted-entity",
            "issuer.example",
            "an-audience",
            "events.db",
        ):
            assert hidden not in text
    assert "`end`, `user.*`" in closed.test_client().get("/openapi.json").text


def test_the_security_schemes_are_those_that_are_configured(
    make_app: MakeApp, tmp_path: Path
) -> None:
    found = document(server(tmp_path, CONFIGURATIONS["open"]))
    assert "securitySchemes" not in found["components"]
    assert {json.dumps(each["security"]) for _, _, each in operations(found)} == {"[]"}

    found = document(server(tmp_path, CONFIGURATIONS["without tickets"]))
    assert sorted(found["components"]["securitySchemes"]) == ["access_token", "ingest_token"]

    found = document(server(tmp_path, CONFIGURATIONS["closed"]))
    schemes = found["components"]["securitySchemes"]
    assert schemes["access_token"]["bearerFormat"] == "JWT"
    assert schemes["cookie"]["name"] == "sse_access_token"
    assert schemes["ticket"]["in"] == "query"

    def allowed(path: str, method: str = "get") -> list[str]:
        return [name for each in found["paths"][path][method]["security"] for name in each]

    assert allowed("/closed/") == ["access_token", "ticket", "cookie"]
    assert allowed("/open/") == []
    assert allowed("/ingest", "post") == ["ingest_token", "access_token"]
    assert allowed("/tickets", "post") == ["access_token", "cookie"]
    assert allowed("/closed_pull/extract") == ["access_token"]
    assert allowed("/pull/take") == []


def test_an_unchanged_document_is_answered_without_its_text(closed: Flask) -> None:
    client = closed.test_client()
    for path in ("/openapi.json", "/asyncapi.json"):
        first = client.get(path)
        assert first.headers["Cache-Control"] == "no-cache"
        again = client.get(path, headers={"If-None-Match": first.headers["ETag"]})
        assert (again.status_code, again.data) == (304, b"")
        assert again.headers["ETag"] == first.headers["ETag"]
        assert client.head(path).headers["ETag"] == first.headers["ETag"]


def test_the_etag_changes_with_the_configuration(make_app: MakeApp, tmp_path: Path) -> None:
    etags = {
        server(tmp_path, settings).test_client().get("/openapi.json").headers["ETag"]
        for settings in CONFIGURATIONS.values()
    }
    assert len(etags) == len(CONFIGURATIONS)


def test_an_unknown_version_is_refused_with_those_that_there_are(closed: Flask) -> None:
    response = closed.test_client().get("/openapi.json?version=2.0")
    assert response.status_code == 400
    assert "3.1, 3.2" in response.get_json(force=True)["detail"]


def test_the_servers_of_the_documents_are_where_the_client_found_them(closed: Flask) -> None:
    client = closed.test_client()
    where = {"base_url": "https://events.example:8443/below"}
    assert client.get("/openapi.json", **where).get_json()["servers"] == [{"url": "/below"}]
    assert client.get("/asyncapi.json", **where).get_json()["servers"] == {
        "this": {"host": "events.example:8443", "protocol": "https", "pathname": "/below"}
    }


@pytest.mark.parametrize("host", ["", "[", 'a"b', "<script>", "a b"])
def test_a_strange_host_breaks_nothing(closed: Flask, host: str) -> None:
    response = closed.test_client().get("/asyncapi.json", headers={"Host": host})
    assert response.status_code == 200
    assert json.loads(response.data)["asyncapi"] == "3.0.0"


def fields(frame: bytes) -> dict[str, Any]:
    """Return the fields of a frame as OpenAPI 3.2 has them."""
    found: dict[str, Any] = dict(
        line.split(": ", 1) for line in frame.decode().removesuffix("\n\n").split("\n")
    )
    return found | ({"retry": int(found["retry"])} if "retry" in found else {})


@pytest.mark.parametrize("format", ["envelope", "cloudevents"])
def test_the_frames_of_a_stream_are_as_the_document_says(
    make_app: MakeApp, listen: Listen, tmp_path: Path, format: str
) -> None:
    settings = {"type": "sse", "replay": True, "heartbeat_timeout": "20ms", "format": format}
    app = server(tmp_path, CONFIGURATIONS["open"] | {"sink": {"fast": settings}})
    found = document(app, "/openapi.json?version=3.2")
    content = found["paths"]["/fast/"]["get"]["responses"]["200"]["content"]
    schema = content["text/event-stream"]["itemSchema"]
    publish(app, "order.created", "order.paid")
    stream = listen(app, "last_event_id=999&probe=1&info=settings", "/fast/")
    frames = [fields(b"event: info\ndata: connected\nretry: 3000\n\n")]
    while {each["event"] for each in frames} < {"info", "message", "probe", "heartbeat"}:
        frames.append(fields(stream.frame()))
    runtime_of(app).close()
    frames.append(fields(stream.frame()))
    notices = {each["data"].split()[0] for each in frames if each["event"] == "info"}
    assert notices == {"connected", "settings", "missed", "closing"}
    for each in frames:
        check(found, schema, each)
    with pytest.raises(jsonschema.ValidationError):
        check(found, schema, {"event": "info", "data": "unheard of"})
