"""A real server whose logs are JSON."""

from __future__ import annotations

import http.client
import json
import os
import signal
from contextlib import closing
from pathlib import Path
from typing import Any

from support.processes import gunicorn_command
from support.server import Server
from support.waiting import WAIT_SECONDS, wait_until

TICKET = "WzEsOTk5OS4wLCJpbmJveCJd.c2lnbmF0dXJl"


def lines(server: Server) -> list[dict[str, Any]]:
    """Return what is in the log, in which every line is an object with what all have."""
    found = [json.loads(line) for line in server.log.split("\n")[:-1]]
    for each in found:
        assert list(each)[:5] == ["time", "level", "logger", "pid", "message"], each
    return found


def request(server: Server, path: str, **headers: str) -> int:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, WAIT_SECONDS)) as made:
        made.request("GET", path, headers=sent)
        return made.getresponse().status


def test_every_line_of_the_server_is_an_object(tmp_path: Path) -> None:
    settings = {"server": {"workers": 1, "log_format": "json"}}
    with Server(tmp_path, settings, arguments=["--access-logfile", "-"]) as server:
        agent = 'a "browser" \\ \x85'
        assert (
            request(server, f"/healthz?ticket={TICKET}&a=1", User_Agent=agent, X_Request_Id="me")
            == 200
        )
        assert request(server, '/no"where', Referer=server.url(f"/?ticket={TICKET}")) == 404
        with server.stream("?event_type=user.*") as stream:
            server.post({"event_type": "user.login"})
            assert stream.message_id() == 1
        wait_until(lambda: "stream closed after" in server.log, "the stream's end is logged")

        def said(text: str) -> list[dict[str, Any]]:
            return [each for each in lines(server) if text in each["message"]]

        (health,) = [each for each in said("GET /healthz 200") if each["query"]]
        assert health["logger"] == "gunicorn.access"
        assert (health["method"], health["path"], health["status"]) == ("GET", "/healthz", 200)
        assert (health["query"], health["user_agent"]) == ("ticket=***&a=1", agent)
        assert health["remote_address"] == "127.0.0.1"
        assert (health["user"], health["referer"]) == (None, None)
        assert health["request_id"] == "me"
        assert health["bytes"] > 0
        assert 0 < health["seconds"] < WAIT_SECONDS
        (nowhere,) = said('GET /no"where 404')
        assert nowhere["referer"].endswith("/?ticket=***")
        (began,) = said("stream connected")
        assert (began["sink"], began["query"]) == ("events_stream", "event_type=user.*")
        (ended,) = said("stream closed after")
        assert len(began["request_id"]) == 32
        assert ended["request_id"] == began["request_id"]
        assert (ended["reason"], ended["events"], ended["missed"]) == ("closed", 1, 0)

        # A reload with a mistake: the message has several lines, the log one object.
        server.config.write_text("server: {log_format: xml, port: no}\nsink: {sse: }\n")
        os.kill(server.pid, signal.SIGHUP)
        wait_until(lambda: said("the old one stays in force"), "the mistake is logged")
        (mistake,) = said("the old one stays in force")
        assert "server.log_format" in mistake["message"]
        assert "server.port" in mistake["message"]
        assert mistake["level"] == "error"
    assert {"gunicorn.error", "gunicorn.access"} <= {each["logger"] for each in lines(server)}
    assert TICKET[:8] not in server.log


def test_too_few_open_files_are_told_in_a_line_of_json(tmp_path: Path) -> None:
    def limited(port: int) -> list[str]:
        return ["sh", "-c", f"ulimit -n 300; exec {' '.join(gunicorn_command(tmp_path))}"]

    settings = {"server": {"workers": 1, "max_clients": 5000, "log_format": "json"}}
    with Server(tmp_path, settings, command=limited) as server:
        first = lines(server)[0]
        assert first["level"] == "warning"
        assert "5000 streams need more open files" in first["message"]
