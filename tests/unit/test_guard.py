"""Streams that end because their clients may no longer read."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator

import pytest

from flask_sse_sink.access.grants import Grants
from flask_sse_sink.access.principal import Identity, Kind, Principal
from flask_sse_sink.filters import EVERYTHING
from flask_sse_sink.stream.client import Client
from flask_sse_sink.stream.guard import Guard
from flask_sse_sink.stream.settings import SSESettings
from support.chunks import chunk
from support.sessions import session
from support.waiting import wait_until


class Revoked:
    """Who was revoked; ``subjects`` may be changed."""

    def __init__(self) -> None:
        self.subjects: set[str] = set()

    def __call__(self, principal: Principal) -> bool:
        return principal.identity.subject in self.subjects


@pytest.fixture
def revoked() -> Revoked:
    return Revoked()


@pytest.fixture
def guard(revoked: Revoked) -> Iterator[Guard]:
    guard = Guard(revoked)
    guard.start()
    yield guard
    guard.stop()


def client(
    expires_in: float | None = None, life: float | None = None, subject: str = "ann"
) -> Client:
    made = Client("live", EVERYTHING, "127.0.0.1", SSESettings())
    now = time.time()
    expires_at = None if expires_in is None else now + expires_in
    issued_at = None if life is None or expires_at is None else expires_at - life
    identity = Identity(Kind.JWT, "https://a/", subject)
    made.principal = Principal(identity, subject, Grants(), issued_at, expires_at)
    return made


def is_expired(data: bytes) -> bool:
    found = re.fullmatch(rb"event: info\ndata: expired\nretry: (\d+)\n\n", data)
    return found is not None and 3000 <= int(found[1]) <= 6000


def test_a_stream_is_told_that_its_token_ends_and_then_ends(guard: Guard) -> None:
    ending = client(0.6, life=5.0)
    ending.queue.sender.send(chunk(1))
    began = time.monotonic()
    parts = list(session(ending, guard=guard))
    assert time.monotonic() - began < 0.6
    assert parts[0].startswith(b"event: info\ndata: connected")
    assert parts[1].startswith(b"event: message\nid: 1\n")
    assert is_expired(parts[2])
    assert len(parts) == 3
    assert ending.reason == "expired"
    assert guard.clients == 0


def test_a_token_that_has_ended_by_now_ends_the_stream_at_once(guard: Guard) -> None:
    ended = client(-1)
    parts = list(session(ended, guard=guard))
    assert ended.reason == "expired"
    assert len(parts) <= 2


def test_the_ends_of_one_tokens_streams_are_spread(guard: Guard) -> None:
    clients = [client(1.0, life=8.0) for _ in range(60)]
    began = time.monotonic()
    for each in clients:
        guard.add(each)
    ended: dict[Client, float] = {}

    def look() -> bool:
        for each in clients:
            if each.reason:
                ended.setdefault(each, time.monotonic() - began)
        return len(ended) == len(clients)

    wait_until(look, "all have ended", 5)
    times = sorted(ended.values())
    assert times[0] >= 0.15
    assert times[-1] < 1.5
    assert times[-10] - times[10] > 0.2
    assert {each.reason for each in clients} == {"expired"}


def test_a_stream_that_takes_nothing_is_over_when_its_token_ends(guard: Guard) -> None:
    slow = client(0.4, life=8.0)
    guard.add(slow)
    wait_until(lambda: slow.reason == "expired", "it is told")
    assert not slow.over
    wait_until(lambda: slow.over, "it is over", 2)
    guard.discard(slow)


def test_a_revoked_client_ends_and_others_stay(guard: Guard, revoked: Revoked) -> None:
    ann, bob = client(), client(subject="bob")
    parts: list[bytes] = []
    thread = threading.Thread(target=lambda: parts.extend(session(ann, guard=guard)))
    thread.start()
    guard.add(bob)
    wait_until(lambda: guard.clients == 2, "both are looked after")
    assert guard.end_revoked() == 0
    revoked.subjects.add("ann")
    assert guard.end_revoked() == 1
    assert guard.end_revoked() == 0
    thread.join(5)
    assert is_expired(parts[-1])
    assert (ann.reason, bob.reason) == ("revoked", "")


def test_a_client_that_was_revoked_while_it_joined_ends(guard: Guard, revoked: Revoked) -> None:
    revoked.subjects.add("ann")
    ann = client(600)
    parts = list(session(ann, guard=guard))
    assert is_expired(parts[-1])
    assert ann.reason == "revoked"


def test_a_revoked_stream_that_takes_nothing_is_cut(guard: Guard, revoked: Revoked) -> None:
    revoked.subjects.add("ann")
    ann = client(600)
    guard.add(ann)
    assert not ann.over
    wait_until(lambda: ann.over, "it is over", 3)


def test_clients_that_left_are_not_kept(guard: Guard) -> None:
    stays = client(3600)
    guard.add(stays)
    for _ in range(500):
        gone = client(3600)
        guard.add(gone)
        guard.discard(gone)
        guard.discard(gone)
    assert guard.clients == 1
    assert guard.scheduled < 100
    assert not stays.reason


def test_clients_without_a_principal_are_left_alone(guard: Guard) -> None:
    anybody = Client("live", EVERYTHING, None, SSESettings())
    guard.add(anybody)
    assert guard.clients == 0


def test_the_clock_may_be_set_while_the_guard_waits(revoked: Revoked) -> None:
    ahead = [0.0]
    guard = Guard(revoked, lambda: time.time() + ahead[0])
    guard.start()
    try:
        later = client(3600)
        guard.add(later)
        ahead[0] = 3601
        wait_until(lambda: later.reason == "expired", "the clock's change is noticed", 3)
    finally:
        guard.stop()
