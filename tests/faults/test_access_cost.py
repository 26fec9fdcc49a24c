"""What a token adds to a connect."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from flask import request

from flask_sse_sink.access.authenticate import readable
from flask_sse_sink.access.credentials import Rules
from flask_sse_sink.extension import runtime_of
from flask_sse_sink.filters import EVERYTHING
from flask_sse_sink.web.access import authenticate
from support.apps import MakeApp
from support.issuer import AUDIENCE, NAME, SECRET, rsa_key, sign
from support.measured import Measured

OWN = {"audience": AUDIENCE, "subscribe": [{"sink": "inbox", "entity_id": "{sub}"}]}


@pytest.mark.parametrize(
    ("kind", "most"), [("static", 0.0001), ("HS256", 0.0001), ("RS256", 0.0003)]
)
def test_what_a_token_adds_to_a_connect(
    make_app: MakeApp, tmp_path: Path, measured: Measured, kind: str, most: float
) -> None:
    pem = tmp_path / "key.pem"
    pem.write_bytes(rsa_key("a").as_pem(private=False))
    access = {
        "tokens": [{"token": "a-static-token", "name": "a", "subscribe": [{}]}],
        "issuers": [
            {**OWN, "issuer": NAME, "key": SECRET, "algorithms": ["HS256"]},
            {**OWN, "issuer": "rsa", "key": str(pem)},
        ],
    }
    app = make_app(access=access, sink={"inbox": {"type": "sse", "access": "token"}})
    tokens = {
        "static": "a-static-token",
        "HS256": sign(sub="ann"),
        "RS256": sign(rsa_key("a"), "RS256", iss="rsa"),
    }
    rules = Rules("inbox", tickets=True, cookies=True)
    headers = {"Authorization": f"Bearer {tokens[kind]}"}
    times = []
    with app.test_request_context("/inbox/", headers=headers):
        assert request.path == "/inbox/"
        for _ in range(20):
            # The processor's time: other programs that run meanwhile don't count.
            began = time.thread_time()
            for _ in range(100):
                readable(authenticate(runtime_of(app).access, rules), "inbox", EVERYTHING)
            times.append((time.thread_time() - began) / 100)
    measured(f"a token of the kind {kind} adds to a connect", f"{min(times) * 1e6:.0f} µs")
    assert min(times) < most
