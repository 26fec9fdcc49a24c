"""No log has a ticket, or a token of a URL: gunicorn's, with our logger and with its own."""

from __future__ import annotations

import urllib.error
import urllib.request
from pathlib import Path

import pytest

from support.server import Server
from support.their_app import TheirGunicorn
from support.waiting import WAIT_SECONDS, wait_until

TICKET = "WzEsOTk5OS4wLCJpbmJveCJd.c2lnbmF0dXJl"


def _get(server: Server, path: str) -> int:
    referer = {"Referer": server.url(f"/events_stream/?ticket={TICKET}")}
    request = urllib.request.Request(server.url(path), headers=referer)
    try:
        with urllib.request.urlopen(request, timeout=WAIT_SECONDS) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_the_access_log_of_the_server_masks_tickets(tmp_path: Path) -> None:
    format = "%(r)s|%(q)s|%(f)s|%({raw_uri}e)s|%({referer}i)s|%(s)s"
    arguments = ["--access-logfile", "-", "--access-logformat", format]
    settings = {"sink": {"closed": {"type": "sse", "access": "token"}}}
    with Server(tmp_path, settings, arguments=arguments) as server:
        assert _get(server, f"/healthz?ticket={TICKET}&a=1") == 200
        assert _get(server, f"/nowhere?%74icket={TICKET}") == 404
        assert _get(server, f"/events_stream/?event_type=*.x&ticket={TICKET}") == 400
        with server.stream(f"?ticket={TICKET}"):
            pass
        wait_until(lambda: "closed after" in server.log, "the stream's end is logged")
        for name in ("access_token", "token", "authorization"):
            # Refused, because URLs are logged; ours has no token all the same.
            assert _get(server, f"/closed/?{name}=a-token-of-ann") == 401
            assert _get(server, f"/ingest?{name}=Bearer%20a-token-of-ann") == 405
        last = "/ingest?authorization=*** HTTP/1.1|authorization=***|"
        wait_until(lambda: last in server.log, "the refusals are logged")
        assert "GET /closed/?access_token=*** HTTP/1.1|access_token=***|" in server.log
        assert "a-token-of-ann" not in server.log
        assert "GET /healthz?ticket=***&a=1 HTTP/1.1|ticket=***&a=1|" in server.log
        assert "/nowhere?%74icket=***" in server.log
        wait_until(lambda: "|400" in server.log, "the refusal is logged")
        assert TICKET[:8] not in server.log


def test_the_access_log_of_somebodys_own_gunicorn_has_no_ticket(tmp_path: Path) -> None:
    with TheirGunicorn(tmp_path, "-k", "gthread", "--access-logfile", "-") as server:
        assert _get(server, f"/events_stream/?event_type=*.x&ticket={TICKET}") == 400
        wait_until(lambda: "400" in server.log, "the request is logged")
        assert "GET /events_stream/?event_type=*.x&ticket=*** HTTP/1.1" in server.log
        assert TICKET[:8] not in server.log


@pytest.mark.parametrize("path", ["/events_stream/", "/ingest"])
def test_an_error_of_gunicorn_has_no_ticket(tmp_path: Path, path: str) -> None:
    with Server(tmp_path, arguments=["--limit-request-line", "200"]) as server:
        # Older gunicorns answer 400.
        assert _get(server, f"{path}?ticket={TICKET}{'x' * 200}") in (400, 414)
        assert TICKET[:8] not in server.log
