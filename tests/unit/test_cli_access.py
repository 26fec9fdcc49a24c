"""The commands that make tokens and revoke them."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

import jwt
import pytest
from click.testing import Result
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from flask import Flask
from flask.cli import FlaskGroup, ScriptInfo

from flask_sse_sink import create_app
from flask_sse_sink.extension import runtime_of

KEY = "a-key-of-the-tests-with-32-bytes-and-even-more"


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Flask]:
    file = tmp_path / "config.yaml"
    file.write_text(
        "ingest: {auth: none}\n"
        "access: {tokens: [{token: token-of-the-tests, name: dashboard, subscribe: [{}]}]}\n"
        "sink:\n  inbox: {type: sse, access: token}\n"
    )
    app = create_app(file)
    yield app
    runtime_of(app).close()


def run(app: Flask, *words: str) -> Result:
    return app.test_cli_runner().invoke(
        FlaskGroup(create_app=lambda: app), ["sse", *words], obj=ScriptInfo(create_app=lambda: app)
    )


def test_a_static_token_is_printed_once_and_its_hash_for_the_file(app: Flask) -> None:
    output = run(app, "token", "--name", "shop").output
    match = re.fullmatch(
        r"The token, shown only now:\n(\S{43})\nFor access.tokens .*:\n"
        r"  - token: sha256:([0-9a-f]{64})\n    name: shop\n",
        output,
    )
    assert match is not None, output
    assert hashlib.sha256(match[1].encode()).hexdigest() == match[2]
    assert run(app, "token").output != run(app, "token").output


def test_a_jwt_is_signed_with_a_secret(app: Flask) -> None:
    words = ["--claim", "sub=ann", "--claim", "aud=events", "--claim", 'sse={"subscribe": [{}]}']
    output = run(app, "token", "--jwt", "--key", KEY, "--expires-in", "5m", *words).output
    claims = jwt.decode(output.strip(), KEY, algorithms=["HS256"], audience="events")
    assert claims["sub"] == "ann"
    assert claims["sse"] == {"subscribe": [{}]}
    assert claims["exp"] - claims["iat"] == 300


@pytest.mark.parametrize(
    ("private", "algorithm"),
    [
        (rsa.generate_private_key(65537, 2048), "RS256"),
        (ec.generate_private_key(ec.SECP256R1()), "ES256"),
        (ec.generate_private_key(ec.SECP521R1()), "ES512"),
        (ed25519.Ed25519PrivateKey.generate(), "EdDSA"),
    ],
)
def test_a_jwt_is_signed_with_a_private_keys_file(
    app: Flask,
    tmp_path: Path,
    private: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey,
    algorithm: str,
) -> None:
    file = tmp_path / "key.pem"
    file.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    output = run(app, "token", "--jwt", "--key", str(file), "--kid", "k1").output.strip()
    assert jwt.get_unverified_header(output) == {"alg": algorithm, "typ": "JWT", "kid": "k1"}
    jwt.decode(output, private.public_key(), algorithms=[algorithm])


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--jwt"], "--jwt needs --key"),
        (["--key", "x"], "add --jwt"),
        (["--jwt", "--key", KEY, "--claim", "sub"], "'sub' is no claim"),
        (["--jwt", "--key", KEY, "--expires-in", "soon"], "'soon'"),
        (["--jwt", "--key", "-----BEGIN NONSENSE-----"], "no private key"),
    ],
)
def test_what_cant_be_made_is_told(app: Flask, words: list[str], error: str) -> None:
    result = run(app, "token", *words)
    assert result.exit_code != 0
    assert error in result.output
    assert "Traceback" not in result.output


def test_subjects_are_revoked_listed_and_taken_back(app: Flask) -> None:
    empty = run(app, "revoke", "")
    assert empty.exit_code == 2
    assert "is empty; name whom to revoke" in empty.output
    assert run(app, "revocations").output == ""
    assert "Revoked ann" in run(app, "revoke", "ann").output
    assert run(app, "revoke", "ann", "--issuer", "https://a/").exit_code == 0
    assert run(app, "revoke", "dashboard").exit_code == 0
    lines = run(app, "revocations").output.splitlines()
    assert [line.split("  ")[1:] for line in lines] == [
        ["ann"],
        ["ann", "https://a/"],
        ["dashboard"],
    ]
    changes = runtime_of(app).log.revocations.changes(0, 10)
    assert [change.lasting for change in changes] == [False, False, True]
    assert run(app, "unrevoke", "ann").output == "ann is no longer revoked.\n"
    assert len(run(app, "revocations").output.splitlines()) == 2
    again = run(app, "unrevoke", "ann")
    assert again.exit_code == 1
    assert "ann isn't revoked" in again.output
