"""The section `access` of the configuration, and its mistakes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from flask_sse_sink.config.access_checks import unusable_sinks, warnings
from flask_sse_sink.config.loading import from_mapping
from flask_sse_sink.config.schema import schema
from flask_sse_sink.config.settings import Settings
from flask_sse_sink.exceptions import ConfigError

ROOT = Path(__file__).parents[2]
SECRET = "Tr0ub4dor&3-Tr0ub4dor&3-Tr0ub4dor&3"
ISSUER = {"issuer": "https://auth.example/", "audience": "events", "jwks": "https://a.example/j"}
TOKEN = {"token": "dashboard-token", "name": "dashboard"}


def load(access: Any, base: Path = Path("/base"), **sections: Any) -> Settings:
    content = {"sink": {"inbox": {"type": "sse", "access": "token"}}, **sections}
    return from_mapping({**content, "access": access}, "c", base)


def problems(access: Any, **sections: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(access, **sections)
    assert "Tr0ub" not in str(caught.value)
    return list(caught.value.problems)


def test_the_defaults() -> None:
    access = load(None).access
    assert access.secret.values == ()
    assert access.cookie == "sse_access_token"
    assert float(access.ticket_ttl) == 60
    assert float(access.max_token_life) == 30 * 86400
    assert load({"cookie": ""}).access.cookie == ""
    assert from_mapping({"sink": {"sse": None}}, "c", Path()).sink["sse"].access == "none"


def test_the_example_in_the_documentation_is_right(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DASHBOARD_TOKEN", "a-token-of-the-tests")
    _, _, text = (ROOT / "docs/access.md").read_text().partition("# Access\n")
    example = yaml.safe_load(text.partition("```yaml\n")[2].partition("```")[0])
    jsonschema.validate(example, schema())
    settings = from_mapping(example, "access.md", ROOT)
    assert settings.sink["inbox"].access == "token"
    assert not warnings(settings)


def test_a_secret_is_one_or_a_list_of_32_bytes_each() -> None:
    assert load({"secret": SECRET}).access.secret.values == (SECRET.encode(),)
    assert load({"secret": [SECRET, "é" * 16]}).access.secret.values == (
        SECRET.encode(),
        ("é" * 16).encode(),
    )
    assert load({"secret": ""}).access.secret.values == ()
    for wrong in ("Tr0ub4dor&3", [SECRET, "Tr0ub4dor&3"], [""], 7, {"Tr": 1}, [7]):
        (problem,) = problems({"secret": wrong})
        assert problem.startswith("c: access.secret")


def test_the_paths_of_files_are_relative_to_the_configuration() -> None:
    issuers = load(
        {
            "issuers": [
                ISSUER,
                {**ISSUER, "issuer": "b", "jwks": "keys/jwks.json"},
                {"issuer": "c", "audience": "x", "key": "key.pem"},
                {"issuer": "d", "audience": "x", "key": SECRET, "algorithms": ["HS256"]},
            ]
        }
    ).access.issuers
    assert [issuer.jwks or issuer.key.text for issuer in issuers] == [
        "https://a.example/j",
        "/base/keys/jwks.json",
        "/base/key.pem",
        SECRET,
    ]


def issuer(**changes: Any) -> dict[str, Any]:
    return {"issuers": [{**ISSUER, **changes}]}


def token(**changes: Any) -> dict[str, Any]:
    return {"tokens": [{**TOKEN, **changes}]}


def shared(key: str, *algorithms: str) -> dict[str, Any]:
    entry = {"issuer": "a", "audience": "b", "key": key, "algorithms": list(algorithms)}
    return {"issuers": [entry]}


@pytest.mark.parametrize(
    ("access", "path", "what"),
    [
        ([], "access", "not a section"),
        (SECRET, "access", "text is not a section"),
        ({"issuer": []}, "access.issuer", "did you mean issuers"),
        ({"cookie": "a b"}, "access.cookie", "no cookie's name"),
        ({"ticket_ttl": 0}, "access.ticket_ttl", "out of bounds"),
        ({"max_token_life": "0s"}, "access.max_token_life", "out of bounds"),
        ({"tokens": SECRET}, "access.tokens", "text is not a list"),
        ({"tokens": {SECRET: 1}}, "access.tokens", "a section is not a list"),
        ({"tokens": [SECRET]}, "access.tokens[0]", "text is not a section"),
        ({"tokens": [None]}, "access.tokens[0]", "is empty"),
        (token(token="Tr0ub"), "access.tokens[0].token", "8 or more"),
        (token(token=f"Tr0ub {SECRET}"), "access.tokens[0].token", "8 or more"),
        (token(token="sha256:Tr0ub4dor"), "access.tokens[0].token", "no digest"),
        (token(token=[SECRET]), "access.tokens[0].token", "8 or more"),
        (token(token=None), "access.tokens[0].token", "8 or more"),
        ({"tokens": [{"name": "a"}]}, "access.tokens[0].token", "is missing"),
        ({"tokens": [{"token": SECRET}]}, "access.tokens[0].name", "is missing"),
        ({"tokens": [TOKEN, TOKEN]}, "access.tokens[1].token", "stands in access.tokens[0]"),
        (token(subscribe={}), "access.tokens[0].subscribe", "is not a list"),
        (token(subscribe=[None]), "access.tokens[0].subscribe[0]", "is empty"),
        (token(subscribe=["*"]), "access.tokens[0].subscribe[0]", "not a section"),
        (token(subscribe=[{"sink": "x"}]), "access.tokens[0].subscribe[0].sink", "no sink"),
        (token(subscribe=[{"sink": []}]), "access.tokens[0].subscribe[0].sink", "empty list"),
        (token(subscribe=[{"type": "x"}]), "access.tokens[0].subscribe[0].type", "not a setting"),
        (
            token(subscribe=[{"event_type": "a*"}]),
            "access.tokens[0].subscribe[0].event_type",
            "is not a pattern",
        ),
        (
            token(subscribe=[{"entity_id": None}]),
            "access.tokens[0].subscribe[0].entity_id",
            "not text",
        ),
        (token(subscribe=[{"source": ""}]), "access.tokens[0].subscribe[0].source", "is empty"),
        (token(publish=[{"source": 7}]), "access.tokens[0].publish[0].source", "not text"),
        (token(publish=[{"sink": "inbox"}]), "access.tokens[0].publish[0].sink", "not a setting"),
        (
            token(subscribe=[{"entity_id": "{sub}"}]),
            "access.tokens[0].subscribe[0].entity_id",
            "no claims",
        ),
        (issuer(issuer=""), "access.issuers[0].issuer", "is missing"),
        (issuer(audience=""), "access.issuers[0].audience", "is missing"),
        (issuer(claim=""), "access.issuers[0].claim", "is empty"),
        ({"issuers": [ISSUER, ISSUER]}, "access.issuers[1].issuer", "stands in access.issuers[0]"),
        (issuer(jwks="http://auth.example/jwks"), "access.issuers[0].jwks", "safely"),
        (issuer(jwks="ftp://localhost/jwks"), "access.issuers[0].jwks", "safely"),
        (issuer(jwks="https://u:Tr0ub@a.example/j"), "access.issuers[0].jwks", "safely"),
        (issuer(jwks="https://:443/j"), "access.issuers[0].jwks", "safely"),
        (issuer(jwks="https://a:99999/j"), "access.issuers[0].jwks", "safely"),
        (issuer(key="key.pem"), "access.issuers[0].jwks", "either jwks or key"),
        (
            {"issuers": [{"issuer": "a", "audience": "b"}]},
            "access.issuers[0].jwks",
            "either jwks or key",
        ),
        (issuer(key=7), "access.issuers[0].key", "is not a key"),
        (issuer(algorithms=["none"]), "access.issuers[0].algorithms[0]", "none"),
        (issuer(algorithms=["HS256"]), "access.issuers[0].algorithms", "needs a shared secret"),
        (shared(SECRET, "HS256", "RS256"), "access.issuers[0].algorithms", "mixes"),
        (shared("Tr0ub4dor&3", "HS256"), "access.issuers[0].key", "too short"),
        (shared(SECRET, "HS512"), "access.issuers[0].key", "too short"),
        (
            shared("-----BEGIN PUBLIC KEY-----" + SECRET, "HS256"),
            "access.issuers[0].key",
            "public",
        ),
        (shared("ssh-rsa " + SECRET, "HS256"), "access.issuers[0].key", "public"),
        (shared('{"kty": "RSA", "n": "' + SECRET, "HS256"), "access.issuers[0].key", "public"),
        (shared("-----BEGIN PUBLIC KEY-----" + SECRET), "access.issuers[0].key", "a key itself"),
        (
            issuer(subscribe=[{"sink": "{sub}"}]),
            "access.issuers[0].subscribe[0].sink",
            "no sink",
        ),
        (
            issuer(subscribe=[{"entity_id": "{sub"}]),
            "access.issuers[0].subscribe[0].entity_id",
            "lone brace",
        ),
        (
            issuer(subscribe=[{"event_type": "{sub}*"}]),
            "access.issuers[0].subscribe[0].event_type",
            "is not a pattern",
        ),
    ],
)
def test_mistakes(access: Any, path: str, what: str) -> None:
    (problem,) = problems(access)
    assert problem.startswith(f"c: {path}: ")
    assert what in problem


def test_the_token_of_a_variable_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHORT", "Tr0ub")
    (problem,) = problems(token(token="${SHORT}"))
    assert problem.startswith("c: access.tokens[0].token: ")


@pytest.mark.parametrize(
    ("sink", "setting"),
    [
        ({"access": "nobody"}, "access"),
        ({"access": True}, "access"),
        ({"cors_credentials": True, "cors_origins": ["*"]}, "cors_credentials"),
        ({"cors_credentials": True}, "cors_credentials"),
    ],
)
def test_mistakes_of_a_sink(sink: dict[str, Any], setting: str) -> None:
    (problem,) = problems({}, sink={"sse": sink})
    assert problem.startswith(f"c: sink.sse.{setting}: ")


def test_a_sink_that_nobody_can_read_is_a_warning() -> None:
    assert "sink.inbox" in unusable_sinks(load({}))
    assert not unusable_sinks(load(token()))
    assert not unusable_sinks(load({}, sink={"inbox": {"type": "sse"}}))


def bare(name: str, entity: str) -> dict[str, Any]:
    return {**ISSUER, "issuer": name, "subscribe": [{"entity_id": entity}]}


def test_two_issuers_with_a_bare_subject_are_a_warning() -> None:
    two = [bare("a", "{sub}"), bare("b", "{sub}")]
    (warning,) = warnings(load({"issuers": two}))
    assert re.search(r"issuers\[0\] and access\.issuers\[1\].*acme:\{sub\}", warning)
    assert not warnings(load({"issuers": [bare("a", "{sub}"), bare("b", "acme:{sub}")]}))


@pytest.mark.parametrize(
    ("host", "warned"),
    [("127.0.0.1", False), ("::1", False), ("localhost", False), ("0.0.0.0", True), ("::", True)],
)
def test_an_open_sink_for_everybody_is_a_warning(host: str, warned: bool) -> None:
    sinks = {"inbox": {"type": "sse"}, "closed": {"type": "sse", "access": "token"}}
    found = warnings(load(token(), sink=sinks, server={"host": host}))
    assert [w.partition(" ")[0] for w in found] == (["sink.inbox"] if warned else [])
