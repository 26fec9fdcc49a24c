"""The keys of an issuer: fetched once, kept, and fetched again when a token has another key."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey, OctKey, RSAKey

from flask_sse_sink.access import fetch as fetching
from flask_sse_sink.access.fetch import FetchFailed, fetch, read_file
from flask_sse_sink.access.jwks import FetchedKeys
from flask_sse_sink.access.keys import KeySet
from flask_sse_sink.access.refusal import Refusal
from support.certificate import make_certificate
from support.issuer import JwksServer, jwks_server, key_set, rsa_key
from support.waiting import wait_until


@pytest.fixture
def issuer() -> Iterator[JwksServer]:
    """Run an issuer that has the key `a`."""
    with jwks_server(rsa_key("a")) as server:
        yield server


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def keys_of(issuer: JwksServer, clock: Any = time.monotonic, waiters: int = 8) -> FetchedKeys:
    return FetchedKeys(lambda: fetch(issuer.url), "the issuer", lambda: waiters, clock)


def reason(keys: FetchedKeys, kid: str | None, algorithm: str = "RS256") -> str:
    with pytest.raises(Refusal) as caught:
        keys.find(kid, algorithm)
    return caught.value.reason


def test_keys_are_fetched_once_and_kept_while_the_issuer_is_away(issuer: JwksServer) -> None:
    clock = Clock()
    keys = keys_of(issuer, clock)
    assert issuer.requests == 0
    key = keys.find("a", "RS256")
    issuer.stop()
    clock.now += 10_000
    assert keys.find("a", "RS256") is key
    assert reason(keys, "b") == "unknown_key"
    assert keys.find("a", "RS256") is key
    assert issuer.requests == 1


def test_keys_that_were_never_got_are_tried_again_soon(issuer: JwksServer) -> None:
    clock = Clock()
    keys = keys_of(issuer, clock)
    issuer.status = 500
    assert [reason(keys, "a") for _ in range(5)] == ["unavailable"] * 5
    assert issuer.requests == 1
    issuer.status = 200
    clock.now += 2
    assert keys.find("a", "RS256")


def test_a_rotated_key_is_fetched_at_once(issuer: JwksServer) -> None:
    clock = Clock()
    keys = keys_of(issuer, clock)
    assert keys.find("a", "RS256")
    issuer.document = key_set(rsa_key("b"))
    assert keys.find("b", "RS256")
    # What the issuer has withdrawn isn't accepted any more.
    assert reason(keys, "a") == "unknown_key"


def test_a_flood_of_unknown_keys_causes_one_fetch_in_half_a_minute(issuer: JwksServer) -> None:
    clock = Clock()
    keys = keys_of(issuer, clock)
    assert keys.find("a", "RS256")
    for n in range(100):
        assert reason(keys, f"kid{n}") == "unknown_key"
        clock.now += 0.29
    assert issuer.requests == 2
    clock.now += 1.1
    assert reason(keys, "another") == "unknown_key"
    assert issuer.requests == 3
    assert keys.find("a", "RS256")


def test_a_flood_that_comes_first_causes_one_fetch(issuer: JwksServer) -> None:
    keys = keys_of(issuer, Clock())
    assert {reason(keys, f"kid{n}") for n in range(50)} == {"unknown_key"}
    assert issuer.requests == 1


def test_many_at_once_wait_for_one_fetch(issuer: JwksServer) -> None:
    keys = keys_of(issuer, waiters=50)
    issuer.gate.clear()
    with ThreadPoolExecutor(20) as pool:
        answers = [pool.submit(keys.find, "a", "RS256") for _ in range(20)]
        wait_until(lambda: issuer.requests == 1, "the fetch began")
        issuer.gate.set()
        assert len({id(answer.result()) for answer in answers}) == 1
    assert issuer.requests == 1


def test_an_issuer_that_hangs_takes_a_few_threads_for_a_few_seconds(issuer: JwksServer) -> None:
    keys = keys_of(issuer, waiters=2)
    issuer.gate.clear()
    began = time.monotonic()
    first = threading.Thread(target=reason, args=(keys, "a"))
    waiting = [threading.Thread(target=reason, args=(keys, "a")) for _ in range(2)]
    first.start()
    wait_until(lambda: issuer.requests == 1, "the fetch began")
    for thread in waiting:
        thread.start()
    time.sleep(0.2)
    # Everybody else is answered at once.
    answered = time.monotonic()
    assert [reason(keys, "a") for _ in range(20)] == ["unavailable"] * 20
    assert time.monotonic() - answered < 1
    for thread in (first, *waiting):
        thread.join()
    assert 2.5 < time.monotonic() - began < 10


def test_old_keys_serve_while_the_issuer_hangs(issuer: JwksServer) -> None:
    keys = keys_of(issuer)
    key = keys.find("a", "RS256")
    issuer.gate.clear()
    asking = threading.Thread(target=reason, args=(keys, "new"))
    asking.start()
    wait_until(lambda: issuer.requests == 2, "the fetch began")
    assert keys.find("a", "RS256") is key
    issuer.gate.set()
    asking.join()


def test_after_a_fork_nobody_waits_for_the_parents_fetch(issuer: JwksServer) -> None:
    keys = keys_of(issuer)
    issuer.gate.clear()
    asking = threading.Thread(target=keys.find, args=("a", "RS256"))
    asking.start()
    wait_until(lambda: issuer.requests == 1, "the fetch began")
    keys.reset()
    issuer.gate.set()
    assert keys.find("a", "RS256")
    asking.join()


def test_an_answer_that_drips_is_given_up_in_time(
    issuer: JwksServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetching, "TIMEOUT_SECONDS", 0.5)
    issuer.drip = 0.1
    began = time.monotonic()
    with pytest.raises(FetchFailed, match="within"):
        fetch(issuer.url)
    assert time.monotonic() - began < 2


def test_keys_are_fetched_over_tls_from_who_can_prove_the_name(
    issuer: JwksServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, key = make_certificate(tmp_path)
    issuer.serve_tls(certificate, key)
    url = f"https://localhost:{issuer.port}/jwks.json?a=b"
    with pytest.raises(FetchFailed, match="CERTIFICATE_VERIFY_FAILED"):
        fetch(url)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    assert KeySet(fetch(url)).find("a", "RS256")


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 404, 500, 204])
def test_only_a_200_counts_and_redirects_are_not_followed(issuer: JwksServer, status: int) -> None:
    with jwks_server(rsa_key("b")) as other:
        issuer.status, issuer.location = status, other.url
        with pytest.raises(FetchFailed, match=str(status)):
            fetch(issuer.url)
        assert other.requests == 0


def test_a_document_is_bounded(issuer: JwksServer, tmp_path: Path) -> None:
    issuer.document = b" " * (2**20 + 1)
    with pytest.raises(FetchFailed, match="more than"):
        fetch(issuer.url)
    (tmp_path / "jwks.json").write_bytes(issuer.document)
    with pytest.raises(FetchFailed, match="more than"):
        read_file(str(tmp_path / "jwks.json"))
    with pytest.raises(FetchFailed, match="can't be read"):
        read_file(str(tmp_path / "missing.json"))


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/", "http://no.such.host.invalid/"])
def test_nobody_there_is_a_failed_fetch(url: str) -> None:
    with pytest.raises(FetchFailed):
        fetch(url)


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"nothing",
        b"[]",
        b"{}",
        b'{"keys": {}}',
        b'{"keys": []}',
        b'{"keys": [7]}',
        b"[" * 10**5,
    ],
)
def test_what_is_no_key_set_leaves_the_old_keys(issuer: JwksServer, document: bytes) -> None:
    keys = keys_of(issuer, Clock())
    key = keys.find("a", "RS256")
    issuer.document = document
    assert reason(keys, "b") == "unknown_key"
    assert keys.find("a", "RS256") is key
    with pytest.raises(ValueError, match="it "):
        KeySet(document)


def test_without_a_kid_exactly_one_key_must_fit() -> None:
    ec = ECKey.generate_key("P-256", parameters={"kid": "e"})
    one_of_each = KeySet(key_set(rsa_key("a"), ec))
    assert one_of_each.find(None, "RS256") and one_of_each.find(None, "ES256")
    assert one_of_each.find(None, "ES384") is None
    assert KeySet(key_set(rsa_key("a"), rsa_key("b"))).find(None, "RS256") is None


def entry(key: RSAKey | OctKey | ECKey, private: bool = False, **changes: Any) -> bytes:
    return json.dumps({"keys": [{**key.as_dict(private=private), **changes}]}).encode()


@pytest.mark.parametrize(
    "changes",
    [
        {"use": "enc"},
        {"key_ops": ["encrypt"]},
        {"key_ops": "verify"},
        {"alg": "RS512"},
        {"kty": "oct", "k": "AAAA"},
        {"kty": "EC"},
        {"n": "not a number"},
        {"n": None},
        {"kid": ["a"]},
    ],
)
def test_keys_for_something_else_are_not_used(changes: dict[str, Any]) -> None:
    assert KeySet(entry(rsa_key("a"), **changes)).find("a", "RS256") is None


def test_a_shared_secret_in_a_key_set_is_no_key() -> None:
    secret = OctKey.import_key("x" * 40, parameters={"kid": "a"})
    assert KeySet(entry(secret, private=True)).find("a", "HS256") is None


@pytest.mark.filterwarnings("ignore:Key size")
def test_short_rsa_keys_are_not_used() -> None:
    short = RSAKey.generate_key(1024, parameters={"kid": "a"})
    assert KeySet(entry(short)).find("a", "RS256") is None


def test_of_a_private_key_in_a_set_the_public_half_is_used() -> None:
    key = KeySet(entry(rsa_key("a"), private=True)).find("a", "RS256")
    assert not hasattr(key, "private_numbers")


def test_a_broken_key_does_not_spoil_the_others() -> None:
    broken = {"kty": "RSA", "kid": "b", "n": "AA", "e": "!"}
    document = json.loads(key_set(rsa_key("a")))
    document["keys"] += [broken, "nothing", None]
    keys = KeySet(json.dumps(document).encode())
    assert keys.find("a", "RS256") and keys.find("b", "RS256") is None
