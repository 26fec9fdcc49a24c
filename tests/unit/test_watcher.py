"""Loops, peers, admission and the watcher, each by itself."""

from __future__ import annotations

import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_sse_sink.config.values import Pause
from flask_sse_sink.exceptions import TooManyClients
from flask_sse_sink.extension import runtime_of
from flask_sse_sink.filters import EVERYTHING
from flask_sse_sink.stream.address import counted_address
from flask_sse_sink.stream.admission import Admission
from flask_sse_sink.stream.client import Client
from flask_sse_sink.stream.connection import Connection
from flask_sse_sink.stream.settings import SSESettings
from flask_sse_sink.stream.watcher import Watcher
from flask_sse_sink.threads import SupervisedThread
from support.apps import MakeApp


def until(true: Callable[[], object]) -> None:
    pause, deadline = threading.Event(), time.monotonic() + 10
    while not true():
        assert time.monotonic() < deadline
        pause.wait(0.005)


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The server's and the client's end of a TCP connection."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        theirs = socket.create_connection(listener.getsockname())
        ours, _ = listener.accept()
    with ours, theirs:
        yield ours, theirs


@pytest.fixture
def watcher() -> Iterator[Watcher]:
    made = Watcher(lambda: None, 0.05)
    made.start()
    yield made
    made.stop()


def client(**settings: Any) -> Client:
    return Client("live", EVERYTHING, "127.0.0.1", SSESettings(**settings))


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(), MemoryError()])
def test_a_thread_goes_on_after_any_error_and_says_it_meanwhile(error: BaseException) -> None:
    go, calls = threading.Event(), []

    def step() -> None:
        calls.append(1)
        if len(calls) == 1:
            raise error
        go.wait(10)

    thread = SupervisedThread("sse-sink-test", step)
    thread.start()
    until(lambda: len(calls) == 2)
    assert type(error).__name__ in thread.failure and not thread.alive
    go.set()
    until(lambda: thread.alive)
    thread.stop()
    thread.ensure()
    assert not thread.alive


def test_a_supervised_thread_that_ended_is_started_again() -> None:
    calls: list[int] = []
    dead = iter([threading.Thread()])

    def create(**options: Any) -> threading.Thread:
        # The first thread ends at once, whatever it was to do.
        return next(dead, None) or threading.Thread(**options)

    thread = SupervisedThread("sse-sink-test", lambda: calls.append(1), create)
    thread.start()
    until(lambda: not thread.alive)
    thread.ensure()
    until(lambda: calls)
    thread.stop()


def test_a_peer_is_what_the_server_hands_out_for_one_stream_alone(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, _ = pair
    for key in ("gunicorn.socket", "werkzeug.socket"):
        assert Connection.of({key: ours, "SERVER_PROTOCOL": "HTTP/1.1"})
        spoofed = {key: ours, "SERVER_PROTOCOL": "HTTP/2", "HTTP_VERSION": "HTTP/1.1"}
        assert Connection.of(spoofed) is None
    assert Connection.of({"SERVER_PROTOCOL": "HTTP/1.1"}) is None


def test_a_guarded_peer_has_the_kernels_limits(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, _ = pair
    Connection(ours).set_timeouts(30)
    assert ours.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
    assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 15
    assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 32_000
    one, other = socket.socketpair()
    with one, other:
        Connection(one).set_timeouts(30)
        assert not one.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert Connection(one).acknowledged() == 0


def test_a_cut_frees_a_stuck_writer_and_what_was_written_arrives(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = pair
    sent: list[int] = []

    def write() -> None:
        with pytest.raises(OSError):
            while True:
                ours.sendall(b"x" * 100_000)
                sent.append(100_000)

    writing = threading.Thread(target=write)
    writing.start()
    until(lambda: sent)
    peer = Connection(ours)
    until(lambda: peer.acknowledged() > 0)
    taken = peer.acknowledged()
    before = 0
    while len(sent) != before:
        before = len(sent)
        time.sleep(0.1)
    peer.cut()
    writing.join(10)
    assert not writing.is_alive()
    got = 0
    while data := theirs.recv(1 << 20):
        got += len(data)
    assert got >= sum(sent) and taken > 0
    ours.close()
    peer.cut()
    assert peer.is_gone() and not peer.is_silent() and peer.acknowledged() == 0


def reset(theirs: socket.socket) -> None:
    theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    theirs.close()


@pytest.mark.parametrize(
    "leave", [socket.socket.close, lambda theirs: theirs.shutdown(socket.SHUT_WR), reset]
)
@pytest.mark.parametrize("before", [True, False])
def test_a_client_whose_peer_leaves_ends(
    watcher: Watcher,
    pair: tuple[socket.socket, socket.socket],
    leave: Callable[[socket.socket], None],
    before: bool,
) -> None:
    ours, theirs = pair
    gone = client()
    if before:
        leave(theirs)
    watcher.add(gone, Connection(ours))
    if not before:
        leave(theirs)
    until(lambda: gone.over)
    assert gone.reason == "closed"
    watcher.discard(gone, Connection(ours))


def test_late_news_of_a_descriptor_does_not_hit_who_has_it_now(
    watcher: Watcher, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair
    stays = client()
    watcher.add(stays, Connection(ours))
    watcher.on_hang_up(ours.fileno())
    assert not stays.over
    watcher.discard(client(), Connection(ours))
    theirs.close()
    until(lambda: stays.over)


def test_a_peer_that_takes_nothing_is_cut_after_the_write_timeout(
    watcher: Watcher, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, _theirs = pair
    stalled = client(write_timeout=Pause(0.3))
    watcher.add(stalled, Connection(ours))
    stalled.writing_since = began = time.monotonic()
    with pytest.raises(OSError):
        while True:
            ours.sendall(b"x" * 100_000)
    assert 0.3 <= time.monotonic() - began < 5
    assert (stalled.reason, stalled.over) == ("stalled", True)


def test_a_peer_that_takes_something_is_not_cut(
    watcher: Watcher, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair
    slow = client(write_timeout=Pause(0.5))
    watcher.add(slow, Connection(ours))
    slow.writing_since = began = time.monotonic()
    while time.monotonic() - began < 1.5:
        ours.sendall(b"x")
        theirs.recv(1)
        time.sleep(0.05)
    assert not slow.over


def test_who_is_over_and_still_writing_is_cut(
    watcher: Watcher, pair: tuple[socket.socket, socket.socket]
) -> None:
    ours, theirs = pair
    over = client()
    over.drop("closed")
    watcher.add(over, Connection(ours))
    over.writing_since = time.monotonic() - 2
    theirs.settimeout(5)
    assert theirs.recv(1) == b""


def test_a_tick_that_raises_does_not_stop_the_watching(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    ours, theirs = pair
    ticks: list[int] = []

    def tick() -> None:
        ticks.append(1)
        raise ValueError("no")

    watcher = Watcher(tick, 0.02)
    watcher.start()
    until(lambda: len(ticks) > 1)
    gone = client()
    watcher.add(gone, Connection(ours))
    theirs.close()
    until(lambda: gone.over)
    watcher.stop()
    watcher.add(gone, Connection(ours))
    assert watcher.cut(only_writing=False) == 0


def test_streams_that_take_long_to_end_are_cut_first_where_a_write_takes_long() -> None:
    watcher = Watcher(lambda: None, 60)
    ends = [socket.socketpair() for _ in range(3)]
    clients = [client() for _ in ends]
    for each, (ours, theirs) in zip(clients, ends, strict=True):
        theirs.setblocking(False)
        watcher.add(each, Connection(ours))

    def is_cut() -> list[bool]:
        cut = []
        for _, theirs in ends:
            try:
                cut.append(theirs.recv(1) == b"")
            except BlockingIOError:
                cut.append(False)
        return cut

    stuck, writes, _ = clients
    stuck.writing_since = time.monotonic() - 1.5
    writes.writing_since = time.monotonic()
    assert watcher.cut(only_writing=True) == 3
    assert is_cut() == [True, False, False]
    assert watcher.cut(only_writing=False) == 3
    assert is_cut() == [True, True, True]
    watcher.stop()
    for ours, theirs in ends:
        ours.close()
        theirs.close()


def test_slots_bound_all_a_sink_and_an_address_and_keep_no_trace() -> None:
    admission = Admission(3, per_address=2)
    backs = [admission.admit("a", 2, "x"), admission.admit("a", 2, "y")]
    with pytest.raises(TooManyClients, match="all 2 streams of this sink"):
        admission.admit("a", 2, "z")
    backs.append(admission.admit("b", 0, "x"))
    with pytest.raises(TooManyClients, match="all 3 streams of this worker"):
        admission.admit("b", 0, "z")
    backs.pop(1).give_back()
    with pytest.raises(TooManyClients, match="your address has all 2"):
        admission.admit("b", 0, "x")
    for slot in backs * 2:
        slot.give_back()
    assert (admission.taken, admission.taken_by_sink, admission.taken_by_address) == (0, {}, {})


@pytest.mark.parametrize(
    ("address", "counted"),
    [
        ("5.5.5.5", "5.5.5.5"),
        ("5.5.5.5:1000", "5.5.5.5"),
        (" 5.5.5.5 ", "5.5.5.5"),
        ("::ffff:5.5.5.5", "5.5.5.5"),
        ("[::ffff:5.5.5.5]:7", "5.5.5.5"),
        ("::FFFF:505:505", "5.5.5.5"),
        ("64:ff9b::5.5.5.5", "5.5.5.5"),
        ("::1", "::/64"),
        ("[::1]:99", "::/64"),
        ("[::1]", "::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("[2001:DB8:1:2:ffff:ffff:ffff:ffff]:99", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        (None, ""),
        ("", ""),
        ("unknown", "unknown"),
        ("_hidden:1", "_hidden:1"),
        ("5.5.5.5:1:2", "5.5.5.5:1:2"),
        ("[", "["),
    ],
)
def test_an_address_is_counted_without_its_port_and_ipv6_by_its_network(
    address: str | None, counted: str
) -> None:
    assert counted_address(address) == counted


@given(st.text())
def test_any_text_is_counted_as_an_address(text: str) -> None:
    assert counted_address(counted_address(text)) == counted_address(text)


def test_a_second_thread_that_drains_cuts_no_stream_that_is_still_being_told(
    make_app: MakeApp, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = runtime_of(make_app())
    runtime.started()
    cuts: list[bool] = []
    end, is_nested = runtime.end_streams, False

    def end_streams() -> int:
        nonlocal is_nested
        if not is_nested:
            is_nested = True
            runtime.drain()
        return end()

    def cut(self: Watcher, *, only_writing: bool) -> int:
        cuts.append(only_writing)
        return 0

    monkeypatch.setattr(runtime, "end_streams", end_streams)
    monkeypatch.setattr(Watcher, "cut", cut)
    assert runtime.drain() == 0
    assert is_nested and cuts == []
