"""Revocations, which each log keeps and every process follows."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_sse_sink.access.grants import Grants
from flask_sse_sink.access.principal import Identity, Kind, Principal
from flask_sse_sink.access.refusal import Reason, Refusal
from flask_sse_sink.access.revocation_follower import RevocationFollower
from flask_sse_sink.access.revocations import Revocation, RevokedSubjects
from flask_sse_sink.config.settings import DatabaseSettings
from flask_sse_sink.exceptions import LogUnavailable
from flask_sse_sink.log import EventLog, copying, open_log
from flask_sse_sink.submission import new_event
from support.waiting import wait_until

DAY = 86400.0
ISSUER = "https://auth.example/"


@pytest.fixture(params=["sqlite", "redis", "redis+cluster"])
def make_log(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], EventLog]]:
    """Return a function that opens logs, all of them in the same storage."""
    url = f"sqlite:///{tmp_path}/events.db"
    if request.param == "redis":
        url = request.getfixturevalue("redis_server").url
    elif request.param == "redis+cluster":
        url = request.getfixturevalue("redis_cluster")
    made: list[EventLog] = []

    def make() -> EventLog:
        made.append(open_log(DatabaseSettings(url=url)))
        return made[-1]

    yield make
    for log in made:
        log.close()


def principal(
    subject: str, issued_at: float | None = None, issuer: str = ISSUER, kind: Kind = Kind.JWT
) -> Principal:
    return Principal(Identity(kind, issuer, subject), subject, Grants(), issued_at)


def reason_of(follower: RevocationFollower, principal: Principal) -> Reason:
    with pytest.raises(Refusal) as refused:
        follower.check(principal)
    return refused.value.reason


def test_every_process_reads_what_is_new(make_log: Callable[[], EventLog]) -> None:
    one, other = make_log().revocations, make_log().revocations
    assert one.version()[1] == 0
    assert one.changes(0, 10) == []
    before_us = time.time() * 1e6
    ann = one.revoke("ann")
    bob = one.revoke("bob", ISSUER, lasting=True)
    assert before_us - 1e6 < ann.revoked_at_us <= bob.revoked_at_us < time.time() * 1e6 + 1e6
    assert other.changes(0, 10) == [ann, bob]
    assert other.changes(ann.position, 10) == [bob]
    assert other.changes(0, 1) == [ann]
    assert other.version()[1] == bob.position
    assert bob == Revocation(bob.position, "bob", ISSUER, bob.revoked_at_us, True, False)


def test_only_the_newest_change_of_a_subject_is_kept(make_log: Callable[[], EventLog]) -> None:
    log = make_log().revocations
    first, second = log.revoke("ann"), log.revoke("ann")
    of_issuer = log.revoke("ann", ISSUER)
    assert log.changes(0, 10) == [second, of_issuer]
    assert first.position < second.position < of_issuer.position
    assert log.unrevoke("ann")
    assert not log.unrevoke("ann")
    assert not log.unrevoke("bob")
    changes = log.changes(second.position, 10)
    assert [(each.issuer, each.lifted) for each in changes] == [(ISSUER, False), (None, True)]
    assert log.version()[1] == changes[-1].position


def test_old_ones_are_forgotten_but_not_lasting_ones(make_log: Callable[[], EventLog]) -> None:
    log = make_log().revocations
    log.revoke("ann")
    dashboard = log.revoke("dashboard", lasting=True)
    bob = log.revoke("bob")
    assert log.prune(DAY) == 0
    assert log.prune(-DAY) == 2
    assert log.changes(0, 10) == [dashboard]
    assert log.version()[1] == bob.position
    assert log.revoke("ann").position > bob.position


def test_revocations_are_copied_with_the_log(
    make_log: Callable[[], EventLog], tmp_path: Path
) -> None:
    source = make_log()
    source.append([new_event("a")])
    source.revocations.revoke("ann")
    source.revocations.revoke("bob", ISSUER)
    source.revocations.revoke("dashboard", lasting=True)
    source.revocations.unrevoke("bob", ISSUER)
    target = open_log(DatabaseSettings(url=f"sqlite:///{tmp_path}/copy.db"))
    try:
        # A copy may be made again, for what came in since.
        for _ in range(2):
            assert list(copying.copy(source, target))[-1:] in ([(1, 1)], [])
            copies = target.revocations.changes(0, 10)
            assert [each[1:] for each in copies] == [
                each[1:] for each in source.revocations.changes(0, 10)
            ]
        source.revocations.restore(copies)
        kept = source.revocations.changes(0, 10)
        assert [each[1:] for each in kept if not each.lifted] == [
            each[1:] for each in copies if not each.lifted
        ]
    finally:
        target.close()


def test_any_name_can_be_revoked(make_log: Callable[[], EventLog]) -> None:
    log = make_log().revocations
    names = ['"', "a:b:1", "é😀", "", "a\x00b"]
    for name in names:
        log.revoke(name, name)
    assert [(each.subject, each.issuer) for each in log.changes(0, 10)] == [
        (name, name) for name in names
    ]


def test_events_go_on_beside_revocations(make_log: Callable[[], EventLog]) -> None:
    log = make_log()
    log.append([new_event("a")])
    log.revocations.revoke("ann")
    assert log.append([new_event("a")]).ids == [2]
    assert log.head() == 2


def test_a_revocation_covers_what_was_issued_until_then() -> None:
    revoked = RevokedSubjects()
    identity = Identity(Kind.JWT, ISSUER, "ann")
    assert not revoked.covers(identity, 5.0)
    revoked.apply([Revocation(1, "ann", None, 10_000_000)])
    assert revoked.covers(identity, 5.0)
    assert revoked.covers(identity, 10.0)
    assert not revoked.covers(identity, 10.000001)
    assert revoked.covers(identity, None)
    assert not revoked.covers(identity._replace(subject="bob"), 5.0)
    assert revoked.covers(identity._replace(issuer="https://other/"), 5.0)
    # A static token is revoked whenever it was made.
    assert revoked.covers(Identity(Kind.TOKEN, "", "ann"), 99.0)


def test_a_revocation_of_one_issuer_leaves_the_others() -> None:
    revoked = RevokedSubjects()
    revoked.apply([Revocation(1, "ann", ISSUER, 10_000_000)])
    assert revoked.covers(Identity(Kind.JWT, ISSUER, "ann"), 5.0)
    assert not revoked.covers(Identity(Kind.JWT, "https://other/", "ann"), 5.0)
    assert not revoked.covers(Identity(Kind.TOKEN, "", "ann"), None)


_changes = st.lists(
    st.tuples(
        st.sampled_from(["ann", "bob"]),
        st.sampled_from([None, ISSUER]),
        st.integers(0, 50),
        st.booleans(),
    ),
    max_size=12,
)


@given(_changes, st.sampled_from(["ann", "bob"]), st.integers(0, 50))
def test_the_newest_change_of_a_pair_counts(
    changes: list[tuple[str, str | None, int, bool]], subject: str, issued_at: int
) -> None:
    revoked = RevokedSubjects()
    newest: dict[tuple[str, str | None], tuple[int, bool]] = {}
    for position, (who, issuer, seconds, lifted) in enumerate(changes):
        at_us = seconds * 1_000_000
        revoked.apply([Revocation(position, who, issuer, at_us, False, lifted)])
        newest[who, issuer] = seconds, lifted
    expected = any(
        not lifted and issued_at <= seconds
        for (who, _), (seconds, lifted) in newest.items()
        if who == subject
    )
    assert revoked.covers(Identity(Kind.JWT, ISSUER, subject), float(issued_at)) == expected


@pytest.mark.once
def test_processes_follow_a_revocation_and_its_end(make_log: Callable[[], EventLog]) -> None:
    changed = threading.Event()
    store = make_log().revocations
    follower = RevocationFollower(make_log().revocations, DAY, changed.set)
    follower.start()
    changed.clear()
    try:
        ann = principal("ann", time.time() - 5)
        follower.check(ann)
        began = time.monotonic()
        store.revoke("ann")
        assert changed.wait(5)
        assert time.monotonic() - began < 2
        assert reason_of(follower, ann) == Reason.REVOKED
        follower.check(principal("ann", time.time() + 5))
        store.unrevoke("ann")
        wait_until(lambda: not follower.is_revoked(ann), "it is taken back", 3)
    finally:
        follower.stop()


def test_a_process_that_starts_knows_what_was_revoked(make_log: Callable[[], EventLog]) -> None:
    store = make_log().revocations
    for n in range(1005):
        store.revoke(f"user{n}")
    follower = RevocationFollower(make_log().revocations, DAY)
    assert follower.read()
    assert follower.is_revoked(principal("user0"))
    assert follower.is_revoked(principal("user1004"))
    assert not follower.read()


class FlakyLog:
    """Revocations in memory, which may be away, or be others'."""

    def __init__(self) -> None:
        self.identity = "one"
        self.kept: list[Revocation] = []
        self.away = False
        self.head = 0

    def revoke(self, subject: str, issuer: str | None = None, lasting: bool = False) -> Revocation:
        self.head += 1
        at = int(time.time() * 1e6)
        self.kept.append(Revocation(self.head, subject, issuer, at, lasting))
        return self.kept[-1]

    def unrevoke(self, subject: str, issuer: str | None = None) -> bool:
        raise NotImplementedError

    def version(self) -> tuple[str, int]:
        if self.away:
            raise LogUnavailable("it is away")
        return self.identity, self.head

    def changes(self, after: int, limit: int) -> list[Revocation]:
        self.version()
        return [each for each in self.kept if each.position > after][:limit]

    def restore(self, revocations: Iterable[Revocation]) -> None:
        raise NotImplementedError

    def prune(self, seconds: float) -> int:
        return 0


def test_nobody_is_let_in_by_a_process_that_was_cut_off_for_ten_seconds() -> None:
    now = [1000.0]
    log = FlakyLog()
    follower = RevocationFollower(log, DAY, monotonic=lambda: now[0])
    log.away = True
    assert reason_of(follower, principal("ann")) == Reason.UNAVAILABLE
    log.away = False
    try:
        follower.check(principal("ann"))
        log.away = True
        now[0] += 9.9
        follower.check(principal("ann"))
        now[0] += 0.2
        assert reason_of(follower, principal("ann")) == Reason.UNAVAILABLE
        assert not follower.is_revoked(principal("ann"))
        log.revoke("ann")
        log.away = False
        follower.wake()
        wait_until(lambda: follower.is_revoked(principal("ann")), "it is read", 3)
        assert reason_of(follower, principal("ann")) == Reason.REVOKED
    finally:
        follower.stop()


def test_everything_is_read_anew_where_the_log_is_another_one_or_went_back() -> None:
    log = FlakyLog()
    follower = RevocationFollower(log, DAY)
    log.revoke("ann")
    log.revoke("bob")
    follower.read()
    assert follower.is_revoked(principal("ann"))
    # A replica took over that lacks the newest change.
    log.kept, log.head = log.kept[:1], 1
    assert follower.read()
    assert follower.is_revoked(principal("ann"))
    assert not follower.is_revoked(principal("bob"))
    log.identity, log.kept = "two", []
    assert follower.read()
    assert not follower.is_revoked(principal("ann"))


def test_a_process_says_once_that_it_is_cut_off_and_that_it_is_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = FlakyLog()
    changed = threading.Event()
    follower = RevocationFollower(log, DAY, changed.set)
    follower.start()
    changed.clear()
    try:
        log.away = True
        follower.wake()
        wait_until(lambda: "can't be read, and are asked for again: it is away" in caplog.text, "")
        log.revoke("ann")
        log.away = False
        assert changed.wait(3)
        assert follower.is_revoked(principal("ann"))
        wait_until(lambda: "the revocations can be read again" in caplog.text, "it is back")
        assert caplog.text.count("it is away") == 1
    finally:
        follower.stop()


def test_what_is_older_than_any_token_is_forgotten() -> None:
    ahead = [0.0]
    log = FlakyLog()
    follower = RevocationFollower(log, DAY, clock=lambda: time.time() + ahead[0])
    log.revoke("ann")
    log.revoke("dashboard", lasting=True)
    follower.read()
    assert follower.is_revoked(principal("ann"))
    ahead[0] = DAY + 5
    log.revoke("bob")
    follower.read()
    assert not follower.is_revoked(principal("ann"))
    assert follower.is_revoked(principal("dashboard", kind=Kind.TOKEN))
