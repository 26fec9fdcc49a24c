"""The module for browsers reads on through restarts, refusals, expiry and offline times."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support import access, issuer
from support.browser import BrowserContext
from support.chromium import Answer, Pages
from support.module_pages import ModulePage
from support.nginx import plain_nginx
from support.processes import free_port, run_command
from support.server import Server
from support.stream import SocketStream
from support.waiting import wait_until

SINK = {"replay": True, "retry": 0.1}
SECRET = "a-secret-of-the-tests-with-32-bytes-and-more"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Run a server with open sinks, and with one that needs a token."""
    settings = {
        "access": {
            "secret": SECRET,
            "issuers": [
                {
                    "issuer": issuer.NAME,
                    "audience": issuer.AUDIENCE,
                    "key": issuer.SECRET,
                    "algorithms": ["HS256"],
                    "subscribe": [{"sink": "inbox", "entity_id": "{sub}"}],
                }
            ],
        },
        "sink": {
            "events_stream": {**SINK, "cors_origins": ["*"]},
            "inbox": {"type": "sse", "access": "token", **SINK},
            "private": {"type": "sse", **SINK},
            "live_only": {"type": "sse", "retry": 0.1},
            "quick": {"type": "sse", "heartbeat_timeout": 0.2, **SINK},
        },
    }
    with Server(tmp_path_factory.mktemp("server"), settings) as running:
        yield running
    assert "Traceback" not in running.log, running.log


def some(server: Server, count: int = 3, **fields: Any) -> list[int]:
    """Publish some events, and return their ids."""
    return server.post([{"event_type": "a.b", **fields} for _ in range(count)])


@pytest.mark.usefixtures("needs_nginx")
def test_a_page_behind_a_plain_proxy_misses_nothing_through_a_restart(
    profile: BrowserContext, tmp_path: Path
) -> None:
    settings = {"server": {"port": free_port()}, "sink": {"events_stream": SINK}}
    with Server(tmp_path, settings) as server, plain_nginx(tmp_path / "nginx", server) as port:
        front = f"http://127.0.0.1:{port}"
        page = ModulePage.open(profile, server, f"{front}/events_stream/", at=f"{front}/healthz")
        page.wait_for_state("live")
        ids = some(server)
        page.wait_for_ids(ids)
        server.stop()
        # The proxy's answer, which ends an EventSource for good.
        page.wait_for_detail(lambda detail: detail.get("status") == 502)
        with Server(tmp_path, settings) as again:
            ids += some(again)
            page.wait_for_ids(ids)
            assert page.state == "live"
            assert page.got("words")[:3] == ["connected", "settings", "closing"]
            assert page.got("missed") == []
            page.close()


def test_a_page_waits_for_a_place_on_a_full_server(
    profile: BrowserContext, tmp_path: Path
) -> None:
    settings = {
        "server": {"workers": 1, "max_clients": 1},
        "sink": {"events_stream": SINK},
    }
    with Server(tmp_path, settings) as server:
        other = SocketStream(server.port, "/events_stream/")
        page = ModulePage.open(profile, server, maxRetryDelay=100)
        page.wait_for_state("busy")
        page.wait_for_detail(
            lambda detail: detail.get("status") == 503 and "streams" in detail["reason"]
        )
        other.close()
        page.wait_for_state("live")
        page.wait_for_ids(some(server))
        page.close()


def test_a_page_goes_on_with_a_new_ticket_when_its_token_ends_and_stops_when_revoked(
    profile: BrowserContext, server: Server
) -> None:
    lasting = issuer.sign(sub="ann")
    short: list[str] = []

    def token() -> str:
        if short:
            return lasting
        now = int(time.time())
        short.append(issuer.sign(sub="ann", iat=now, exp=now + 6))
        return short[0]

    page = ModulePage.open(profile, server, server.url("/inbox/"), sink="inbox", token=token)
    page.wait_for_state("live")
    ids = some(server, entity_id="ann")
    some(server, entity_id="bob")
    page.wait_until_told("expired")
    ids += some(server, entity_id="ann")
    page.wait_for_ids(ids)
    page.wait_for_state("live")
    assert page.got("tickets") == 2
    run_command(server.config, "revoke", "ann")
    page.wait_for_state("closed")
    last = page.got("details")[-1]
    assert (last["status"], last["problem"]["reason"]) == (401, "revoked")
    page.close()


def test_a_refused_ticket_is_replaced(profile: BrowserContext, server: Server) -> None:
    """The page is given a ticket that ended, then a good one."""
    page = ModulePage.open(profile, server)
    page.page.evaluate(
        """([url, tickets]) => {
          window.stream.close();
          window.words = [];
          import("/sse-sink.js").then(({ connect }) => {
            window.stream = connect(url, {
              ticket: () => tickets.shift(),
              onState: (state, { status }) => window.words.push([state, status]),
            });
          });
        }""",
        ["/inbox/", ["no-ticket", _ticket(server)]],
    )
    page.wait_for_state("live")
    assert page.page.evaluate("window.words") == [
        ["connecting", None],
        ["expired", 401],
        ["live", None],
    ]
    page.close()


def _ticket(server: Server) -> str:
    token = issuer.sign(sub="ann")
    return str(access.ticket_url(server.port, token, sink="inbox"))


@pytest.mark.parametrize(
    ("path", "status", "reason"),
    [
        ("/nothing/", 404, "not found"),
        ("/events_stream/?event_type=*.x", 400, "pattern"),
        ("/inbox/", 401, "Bearer"),
        ("/ingest", 405, "not allowed"),
        ("/healthz", 200, "application/json"),
    ],
)
def test_a_page_is_told_why_it_was_refused_for_good(
    profile: BrowserContext, server: Server, path: str, status: int, reason: str
) -> None:
    page = ModulePage.open(profile, server, server.url(path))
    page.wait_for_state("closed")
    last = page.got("details")[-1]
    assert last["status"] == status
    assert reason in last["reason"]
    page.close()


def test_a_page_of_another_origin_reads_a_sink_that_lets_it(
    profile: BrowserContext, server: Server
) -> None:
    with Pages() as pages:
        pages.answers["/"] = lambda: Answer("<!doctype html>")
        at = f"http://localhost:{pages.port}/"
        page = ModulePage.open(profile, server, at=at)
        page.wait_for_state("live")
        page.wait_for_ids(some(server))
        other = ModulePage.open(profile, server, server.url("/private/"), at=at)
        # It may not read why: the browser says the same of a network that is away.
        other.wait_for_state("reconnecting")
        assert "status" not in other.got("details")[-1]
        page.close()
        other.close()


def test_a_page_that_was_offline_goes_on_where_it_was(
    profile: BrowserContext, server: Server
) -> None:
    page = ModulePage.open(profile, server)
    page.wait_for_state("live")
    ids = some(server)
    page.wait_for_ids(ids)
    profile.set_offline(True)
    page.wait_for_state("offline")
    ids += some(server)
    profile.set_offline(False)
    page.wait_for_ids(ids)
    page.wait_for_state("live")
    page.close()


def test_a_page_leaves_a_connection_that_fell_silent(
    profile: BrowserContext, server: Server
) -> None:
    """The server's processes are stopped: their connections stay open, and say nothing."""
    page = ModulePage.open(profile, server, server.url("/quick/"))
    page.wait_for_state("live")
    ids = some(server)
    page.wait_for_ids(ids)
    workers = server.workers()
    try:
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)
        page.wait_for_detail(lambda detail: "too long" in detail.get("reason", ""))
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGCONT)
    ids += some(server)
    page.wait_for_ids(ids)
    page.wait_for_state("live")
    page.close()


def test_a_page_is_told_that_a_sink_without_replay_may_have_lost_events(
    profile: BrowserContext, server: Server
) -> None:
    page = ModulePage.open(profile, server, server.url("/live_only/"))
    page.wait_for_state("live")
    profile.set_offline(True)
    page.wait_for_state("offline")
    profile.set_offline(False)
    page.wait_for_state("live")
    wait_until(lambda: page.got("missed"), "it is told")
    assert [missed["reason"] for missed in page.got("missed")] == ["no_replay"]
    page.close()


def test_tabs_share_one_connection_which_another_takes_over(
    profile: BrowserContext, server: Server
) -> None:
    open_streams = 'sse_sink_clients{sink="events_stream"}'
    tabs = [ModulePage.open(profile, server, share=True)]
    tabs[0].wait_for_state("live")
    tabs.append(ModulePage.open(profile, server, share=True))
    tabs[1].wait_for_state("live")
    # Another URL is another stream, and so is a stream that isn't shared.
    narrowed = ModulePage.open(profile, server, share=True, eventTypes="x.*")
    narrowed.wait_for_state("live")
    server.wait_for_metrics({open_streams: 2})
    ids = some(server)
    for tab in tabs:
        tab.wait_for_ids(ids)
    # A tab that comes later gets the events from then on.
    late = ModulePage.open(profile, server, share=True)
    late.wait_for_state("live")
    more = some(server)
    late.wait_for_ids(more)
    server.wait_for_metrics({open_streams: 2})
    tabs[0].close()
    # These come while no tab has the connection, or at once afterwards.
    more += some(server)
    tabs[1].wait_for_ids(ids + more)
    late.wait_for_ids(more)
    for tab in (tabs[1], late):
        tab.wait_for_state("live")
    server.wait_for_metrics({open_streams: 2})
    some(server, event_type="x.y")
    wait_until(lambda: len(narrowed.got("ids")) == 3, "the other stream has its own")
    for tab in (tabs[1], late, narrowed):
        tab.close()
    server.wait_for_metrics({open_streams: 0})


def test_nothing_is_missed_while_tabs_come_and_go(profile: BrowserContext, server: Server) -> None:
    stop = threading.Event()
    ids: list[int] = []

    def publish() -> None:
        with server.connection() as producer:
            while not stop.wait(0.005):
                ids.append(producer.post({"event_type": "a"})[0])

    thread = threading.Thread(target=publish)
    tabs = [ModulePage.open(profile, server, share="all") for _ in range(3)]
    last = tabs[-1]
    last.wait_for_state("live")
    thread.start()
    try:
        # Each of these has the connection when it goes.
        for number, tab in enumerate(tabs[:-1], 1):
            last.wait_for_events(20 * number)
            tab.close()
            last.wait_until_told("live", 1 + number)
    finally:
        stop.set()
        thread.join()
    wait_until(lambda: last.got("ids")[-1] == ids[-1], "the last event has come")
    assert last.got("ids") == ids
    last.close()


def test_closing_a_shared_stream_leaves_it_to_the_other_tabs(
    profile: BrowserContext, server: Server
) -> None:
    first = ModulePage.open(profile, server, share="ann")
    first.wait_for_state("live")
    second = ModulePage.open(profile, server, share="ann")
    second.wait_for_state("live")
    first.page.evaluate("window.stream.close()")
    ids = some(server)
    second.wait_for_ids(ids)
    assert first.got("ids") == []
    assert first.state == "closed"
    first.close()
    second.close()


def test_tabs_are_refused_together(profile: BrowserContext, server: Server) -> None:
    tabs = [
        ModulePage.open(profile, server, server.url("/nothing/"), share=True) for _ in range(2)
    ]
    for tab in tabs:
        tab.wait_for_state("closed")
        tab.close()
