"""JSON Web Tokens: what is accepted, and the known attacks."""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey, OctKey, OKPKey, RSAKey

from flask_sse_sink.access.authenticate import Access
from flask_sse_sink.access.credentials import HEADER_ONLY, Credentials
from flask_sse_sink.access.from_settings import from_settings
from flask_sse_sink.access.principal import Identity, Kind, Principal
from flask_sse_sink.access.refusal import Refusal
from flask_sse_sink.config.loading import from_mapping
from flask_sse_sink.exceptions import ConfigError
from support.certificate import make_certificate
from support.issuer import AUDIENCE, NAME, SECRET, claims, key_set, rsa_key, sign


def access(folder: Path = Path(), life: str = "30d", **issuer: Any) -> Access:
    """Return the access with one issuer, whose tokens a shared secret signs by default."""
    if not issuer.keys() & {"key", "jwks"}:
        issuer |= {"key": SECRET, "algorithms": ["HS256"]}
    entry = {"issuer": NAME, "audience": AUDIENCE, **issuer}
    settings = {
        "sink": {"inbox": {"type": "sse", "access": "token"}},
        "access": {"issuers": [entry], "max_token_life": life},
    }
    return from_settings(from_mapping(settings, "test", folder))


def read(token: str, of: Access | None = None) -> Principal:
    credentials = Credentials((f"Bearer {token}",))
    return (of or access()).authenticate(credentials, HEADER_ONLY)


def reason(token: str, of: Access | None = None) -> str:
    with pytest.raises(Refusal) as caught:
        read(token, of)
    assert caught.value.status == 401
    for part in token.split("."):
        assert len(part) < 8 or part not in str(caught.value)
    return caught.value.reason


def encoded(part: object) -> str:
    text = part if isinstance(part, bytes) else json.dumps(part).encode()
    return base64.urlsafe_b64encode(text).rstrip(b"=").decode()


def forged(header: object, payload: object, key: bytes = SECRET.encode()) -> str:
    """Return a token of these parts, signed with HMAC whatever its header says."""
    signed = f"{encoded(header)}.{encoded(payload)}"
    return f"{signed}.{encoded(hmac.digest(key, signed.encode(), hashlib.sha256))}"


def pem_issuer(folder: Path, key: Any, **issuer: Any) -> Access:
    (folder / "key.pem").write_bytes(key.as_pem(private=False))
    return access(folder, key="key.pem", **issuer)


def test_a_token_of_the_issuer_is_its_subject() -> None:
    principal = read(sign(sub="ann", iat=int(time.time()) - 5))
    assert principal.identity == Identity(Kind.JWT, NAME, "ann")
    assert principal.name == "ann"
    assert principal.issued_at is not None and principal.expires_at is not None
    assert principal.expires_at - principal.issued_at == 605


def test_a_subject_may_be_an_integer_or_missing() -> None:
    assert read(sign(sub=7)).identity.subject == "7"
    nobody = read(sign(sub=None))
    assert (nobody.identity.subject, nobody.name) == ("", NAME)


@pytest.mark.parametrize("subject", [True, 1.5, ["ann"], {"a": 1}])
def test_another_subject_is_malformed(subject: object) -> None:
    assert reason(forged({"alg": "HS256"}, claims(sub=subject))) == "malformed"


def test_the_audience_may_be_one_of_several() -> None:
    assert read(sign(aud=["others", AUDIENCE]))


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (lambda now: {"iss": "https://evil.example/"}, "wrong_issuer"),
        (lambda now: {"iss": NAME.rstrip("/")}, "wrong_issuer"),
        (lambda now: {"iss": None}, "wrong_issuer"),
        (lambda now: {"aud": "others"}, "wrong_audience"),
        (lambda now: {"aud": None}, "wrong_audience"),
        (lambda now: {"aud": [f"{AUDIENCE}2"]}, "wrong_audience"),
        (lambda now: {"exp": None}, "malformed"),
        (lambda now: {"exp": now - 1}, "expired"),
        (lambda now: {"exp": 0}, "expired"),
        (lambda now: {"nbf": now + 120}, "malformed"),
        (lambda now: {"iat": now + 120}, "malformed"),
        (lambda now: {"exp": now + 31 * 86400}, "malformed"),
        (lambda now: {"exp": now + 31 * 86400, "iat": None}, "malformed"),
    ],
)
def test_claims_that_are_wrong(changes: Callable[[int], dict[str, Any]], expected: str) -> None:
    assert reason(sign(**changes(int(time.time())))) == expected


def test_clocks_may_differ_by_a_minute_but_not_about_the_end() -> None:
    now = int(time.time())
    assert read(sign(nbf=now + 50, iat=now + 50))
    assert reason(sign(exp=now)) == "expired"


@pytest.mark.parametrize("claim", ["exp", "iat", "nbf"])
@pytest.mark.parametrize(
    "value", [math.inf, -math.inf, math.nan, 10**400, True, "soon", [], 1e300]
)
def test_times_that_are_none_are_refused(claim: str, value: object) -> None:
    assert reason(forged({"alg": "HS256"}, {**claims(), claim: value})) in ("malformed", "expired")


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", ""])
@pytest.mark.parametrize("ending", ["", ".", "AAAA"])
def test_an_unsigned_token_is_refused(algorithm: str, ending: str) -> None:
    token = f"{encoded({'alg': algorithm})}.{encoded(claims())}.{ending.strip('.')}"
    assert reason(token) in ("bad_signature", "malformed")


def test_a_public_key_is_no_shared_secret(tmp_path: Path) -> None:
    key = rsa_key("a")
    issuer = pem_issuer(tmp_path, key)
    assert read(sign(key, "RS256"), issuer)
    for secret in (key.as_pem(private=False), key.as_pem(private=False).strip()):
        assert reason(forged({"alg": "HS256"}, claims(), secret), issuer) == "bad_signature"


def test_an_algorithm_that_is_not_configured_is_refused(tmp_path: Path) -> None:
    key = rsa_key("a")
    issuer = pem_issuer(tmp_path, key, algorithms=["RS256"])
    for algorithm in ("RS512", "PS256"):
        assert reason(sign(key, algorithm), issuer) == "bad_signature"
    assert reason(sign(OctKey.import_key(SECRET), "HS512")) == "bad_signature"


@pytest.mark.parametrize(
    ("key", "algorithm"),
    [
        (ECKey.generate_key("P-256"), "ES256"),
        (ECKey.generate_key("P-384"), "ES384"),
        (ECKey.generate_key("P-521"), "ES512"),
        (OKPKey.generate_key("Ed25519"), "EdDSA"),
    ],
)
@pytest.mark.filterwarnings("ignore:EdDSA")
def test_other_kinds_of_keys(key: Any, algorithm: str, tmp_path: Path) -> None:
    issuer = pem_issuer(tmp_path, key)
    assert read(sign(key, algorithm), issuer)
    other = type(key).generate_key(key.curve_name)
    assert reason(sign(other, algorithm), issuer) == "bad_signature"
    assert reason(sign(rsa_key("a"), "RS256"), issuer) == "unknown_key"


@pytest.mark.parametrize(
    "header",
    [
        {"jku": "https://evil.example/jwks.json"},
        {"x5u": "https://evil.example/cert.pem"},
        {"jwk": {"kty": "oct", "k": encoded(b"known to the attacker")}},
        {"x5c": ["AAAA"]},
        {"kid": "../../dev/null"},
        {"kid": "' UNION SELECT 'known"},
    ],
)
def test_a_header_does_not_choose_the_key(header: dict[str, Any]) -> None:
    token = forged({"alg": "HS256", **header}, claims(), b"known to the attacker")
    assert reason(token) == "bad_signature"
    # With the right key, such a header changes nothing.
    assert read(forged({"alg": "HS256", **header}, claims()))


def test_extensions_that_are_critical_are_refused() -> None:
    header = {"alg": "HS256", "crit": ["b64"], "b64": False}
    assert reason(forged(header, claims())) == "malformed"


@pytest.mark.parametrize(
    "token",
    [
        "a.b.c",
        "a.b.c.d.e",
        "....",
        forged([], claims()),
        forged({"alg": "HS256"}, []),
        forged({"alg": "HS256"}, b"\xff\xfe"),
        forged({"alg": "HS256", "kid": 7}, claims()),
        forged({"alg": ["HS256"]}, claims()),
        forged({"alg": "HS256"}, {**claims(), "iss": [NAME]}),
        forged({"alg": "HS256"}, {**claims(), "much": "x" * 20_000}),
        forged({"alg": "HS256"}, b"[" * 10_000 + b"]" * 1000),
        forged({"alg": "HS256"}, json.dumps(claims())[:-1].encode() + b',"a":' + b"[" * 5000),
        sign() + "=",
        sign()[:-3] + "é==",
        "x" * 100_000,
    ],
    # The tokens carry the time; the tests' names may not differ from one process to another.
    ids=itertools.count(),
)
def test_what_is_no_token_is_malformed(token: str) -> None:
    assert reason(token) in ("malformed", "bad_signature", "wrong_issuer")


def test_a_claim_that_is_nested_deeply_is_read_or_refused() -> None:
    # How deep json reads depends on the version of Python, and on where it is called.
    nested = json.dumps(claims())[:-1].encode() + b',"a":' + b"[" * 5000 + b"]" * 5000 + b"}"
    try:
        name = read(forged({"alg": "HS256"}, nested)).name
    except Refusal as refusal:
        assert refusal.reason == "malformed"
    else:
        assert name == "ann"


def test_a_changed_token_has_a_bad_signature() -> None:
    header, _, signature = sign().split(".")
    assert reason(f"{header}.{encoded(claims(sub='bob'))}.{signature}") == "bad_signature"
    assert reason(sign(OctKey.import_key(SECRET[:-1]))) == "bad_signature"


def test_two_issuers_do_not_sign_for_each_other() -> None:
    entries = [
        {"issuer": name, "audience": AUDIENCE, "key": secret, "algorithms": ["HS256"]}
        for name, secret in (("one", SECRET), ("two", SECRET[::-1]))
    ]
    settings = {"sink": {"sse": {}}, "access": {"issuers": entries}}
    both = from_settings(from_mapping(settings, "test", Path()))
    assert (
        read(sign(iss="one"), both).identity
        != read(sign(OctKey.import_key(SECRET[::-1]), iss="two"), both).identity
    )
    assert reason(sign(iss="two"), both) == "bad_signature"


def test_the_tokens_own_grants_are_added_to_those_of_the_issuer() -> None:
    issuer = access(claim="https://app.example/sse", subscribe=[{"entity_id": "{sub}"}])
    own = {"subscribe": [{"sink": "inbox", "event_type": ["order.*"]}], "publish": [{}]}
    more: dict[str, Any] = {"https://app.example/sse": own}
    grants = read(sign(**more), issuer).grants
    queries = [grant.events.criteria for grant in grants.subscribe]
    assert len(queries) == 2 and len(grants.publish) == 1
    assert grants.readable("inbox").query() == ("event_type=*&entity_id=ann or event_type=order.*")
    assert grants.readable("other").query() == "event_type=*&entity_id=ann"


@pytest.mark.parametrize(
    "claim",
    [
        None,
        "everything",
        [],
        {"subscribe": {}},
        {"subscribe": None},
        {"subscribe": [None]},
        {"subscribe": [{"sinks": "inbox"}]},
        {"subscribe": [{"sink": 7}]},
        {"subscribe": [{"entity_id": None}]},
        {"subscribe": [{"entity_id": ["a", 7]}]},
        {"subscribe": [{"event_type": "*.x"}]},
        {"subscribe": [{"event_type": ""}]},
        {"subscribe": [{"source": "a\nb"}]},
        {"publish": [{"sink": "inbox"}]},
        {"admin": True},
    ],
)
def test_malformed_grants_refuse_the_token(claim: object) -> None:
    assert reason(forged({"alg": "HS256"}, {**claims(), "sse": claim})) == "malformed"


def test_a_file_with_a_key_set_is_read_when_the_first_token_comes(tmp_path: Path) -> None:
    issuer = access(tmp_path, jwks="jwks.json")
    token = sign(rsa_key("a"), "RS256", "a")
    (tmp_path / "jwks.json").write_bytes(key_set(rsa_key("a")))
    assert read(token, issuer)
    # Another key in the file is found as one of a server is.
    (tmp_path / "jwks.json").write_bytes(key_set(rsa_key("b")))
    assert read(sign(rsa_key("b"), "RS256", "b"), issuer)
    assert reason(token, issuer) == "unknown_key"


def test_a_certificate_holds_a_public_key(tmp_path: Path) -> None:
    certificate, key = make_certificate(tmp_path)
    issuer = access(tmp_path, key=certificate.name)
    assert read(sign(RSAKey.import_key(key.read_bytes()), "RS256"), issuer)


@pytest.mark.filterwarnings("ignore:Key size")
def test_a_key_that_is_too_short_is_refused_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"RSA of 2048 bits"):
        pem_issuer(tmp_path, RSAKey.generate_key(1024))


def test_what_a_token_calls_its_grants_does_not_end_a_line() -> None:
    token = forged({"alg": "HS256"}, {**claims(), "sse": {"x\nforged line": 1}})
    with pytest.raises(Refusal) as caught:
        read(token)
    assert "x?forged line" in str(caught.value)


def test_a_key_that_cannot_be_used_is_refused_at_the_start(tmp_path: Path) -> None:
    private = tmp_path / "key.pem"
    private.write_bytes(rsa_key("a").as_pem(private=True))
    for key in ("missing.pem", "key.pem"):
        with pytest.raises(ConfigError, match=r"access\.issuers\[0\]\.key"):
            access(tmp_path, key=key)
    private.write_text("nothing")
    with pytest.raises(ConfigError, match="holds no public key"):
        access(tmp_path, key="key.pem")


def test_a_missing_library_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "flask_sse_sink.access.jwt", None)
    with pytest.raises(ConfigError, match=r"flask-sse-sink\[jwt\]"):
        access()
