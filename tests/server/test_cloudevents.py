"""CloudEvents of senders that others wrote, at the real server, and out of it again."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import requests
from cloudevents.core.bindings import http as v2
from cloudevents.core.v1.event import CloudEvent as EventOfV2
from cloudevents.v1 import conversion as v1
from cloudevents.v1.http import CloudEvent as EventOfV1

from support.cloudevents import BATCH, LEAST_HEADERS, STRUCTURED, least
from support.server import Server
from support.stream import SocketStream
from support.waiting import WAIT_SECONDS

SETTINGS = {"sink": {"cloud": {"type": "sse", "format": "cloudevents", "replay": True}}}
HARD = 'Gr\u00fc\u00dfe "\u20ac" 100 % \U0001f600'


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with Server(tmp_path_factory.mktemp("server"), SETTINGS) as made:
        yield made
    assert "Traceback" not in made.log, made.log


class Cloud(SocketStream):
    """A stream of CloudEvents, past its first event."""

    def __init__(self, server: Server, query: str = "") -> None:
        super().__init__(server.port, f"/cloud/{query}")
        first = self.next()
        assert (first.event, first.data) == ("info", "connected")

    def text(self) -> str:
        """Return the next CloudEvent as text."""
        event = self.next()
        assert event.event == "message"
        return event.data

    def cloud_event(self) -> dict[str, Any]:
        """Return the next CloudEvent."""
        value: dict[str, Any] = json.loads(self.text())
        return value


def send(server: Server, headers: Mapping[str, str], body: bytes) -> None:
    """Send with the most used client of HTTP."""
    answer = requests.post(server.url("/ingest"), body, headers=headers, timeout=WAIT_SECONDS)
    assert answer.status_code == 201, answer.text


def test_pythons_sdk_of_version_1_sends_in_both_modes(server: Server) -> None:
    attributes = {
        "type": "com.example.v1",
        "source": "https://v1.example/a?b=c#d",
        "time": "2018-04-05T17:31:00.123456+00:00",
        "ext": "a b",
    }
    with Cloud(server) as stream:
        binary = EventOfV1({**attributes, "id": "binary", "subject": "100 %"}, {"n": 1.5})
        send(server, *v1.to_binary(binary))
        sent = {"specversion": "1.0", **attributes}
        data = {"data": {"n": 1.5}}
        assert stream.cloud_event() == {**sent, "id": "binary", "subject": "100 %", **data}
        # In binary mode it sends text as it is: no header can carry what isn't Latin-1.
        structured = EventOfV1({**attributes, "id": "structured", "subject": HARD}, {"n": 1.5})
        send(server, *v1.to_structured(structured))
        text = stream.text()
        assert json.loads(text) == {**sent, "id": "structured", "subject": HARD, **data}
        bytes_ = {"id": "bytes", "datacontenttype": "application/octet-stream"}
        send(server, *v1.to_structured(EventOfV1({**attributes, **bytes_}, b"\xff\x00")))
        assert stream.cloud_event() == {**sent, **bytes_, "data_base64": "/wA="}
    read = v1.from_json(EventOfV1, text)
    assert read.get_attributes() == structured.get_attributes()
    assert read.get_data() == structured.get_data()


def test_pythons_sdk_of_version_2_sends_in_both_modes(server: Server) -> None:
    attributes = {
        "specversion": "1.0",
        "type": "com.example.v2",
        "source": "urn:v2:%C3%BC",
        "subject": HARD,
        "time": datetime(2018, 4, 5, 17, 31, 0, 123456, UTC),
        "dataschema": "https://v2.example/schema",
        "datacontenttype": "application/json",
        "ext": HARD,
    }
    data = {"n": [1, "\u00fc"]}
    with Cloud(server) as stream:
        binary = EventOfV2(attributes={**attributes, "id": "binary"}, data=data)
        structured = EventOfV2(attributes={**attributes, "id": "structured"}, data=data)
        for event, message in (
            (binary, v2.to_binary_event(binary)),
            (structured, v2.to_structured_event(structured)),
        ):
            send(server, message.headers, message.body)
            body = stream.text().encode()
            read = v2.from_structured_event(v2.HTTPMessage({"content-type": STRUCTURED}, body))
            assert read.get_attributes() == event.get_attributes()
            assert read.get_data() == data


def test_npms_sdk_sends_in_both_modes_and_reads_what_is_streamed(
    server: Server, node_folder: Path
) -> None:
    command = ["node", "cloudevents.mjs", server.url("/ingest")]
    with (
        Cloud(server) as stream,
        subprocess.Popen(
            command,
            cwd=node_folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as process,
    ):
        assert process.stdin is not None
        assert process.stdout is not None
        assert [process.stdout.readline() for _ in range(2)] == [b"201\n", b"201\n"]
        streamed = [stream.text() for _ in range(2)]
        out, _ = process.communicate("\n".join(streamed).encode(), timeout=WAIT_SECONDS)
    assert process.returncode == 0
    expected = {
        "specversion": "1.0",
        "type": "com.example.npm",
        "source": "https://npm.example/a?b=c#d",
        "dataschema": "https://npm.example/schema",
        "time": "2018-04-05T17:31:00.123Z",
        "ext": "a b",
        "data": {"n": [1, "\u00fc"]},
    }
    subjects = {"binary": 'a "b" 100 %', "structured": HARD}
    for text, line in zip(streamed, out.decode().splitlines(), strict=True):
        event, read = json.loads(text), json.loads(line)
        assert read == event
        assert event.pop("subject") == subjects[event.pop("id")]
        assert event.pop("datacontenttype").startswith("application/json")
        assert event == expected


def test_events_of_both_kinds_reach_every_worker_in_both_formats(server: Server) -> None:
    with (
        server.one_of_each_worker(lambda: Cloud(server)) as clouds,
        server.one_of_each_worker(server.stream) as plain,
    ):
        send(server, {"Content-Type": STRUCTURED}, json.dumps(least(id="w1", data=1)).encode())
        server.post({"event_type": "a", "event_id": "w2", "source": "web frontend"})
        for stream in clouds.values():
            first, second = stream.cloud_event(), stream.cloud_event()
            assert (first["id"], first["source"], first["data"]) == ("w1", "/s", 1)
            assert (second["id"], second["source"], second["data"]) == (
                "w2",
                "web%20frontend",
                {},
            )
        for envelopes in plain.values():
            assert [envelopes.event()["event_id"] for _ in range(2)] == ["w1", "w2"]


def test_a_client_that_comes_back_gets_cloud_events(server: Server) -> None:
    batch = json.dumps([least(id=f"r{n}", type="replayed", data=n) for n in range(700)]).encode()
    with Cloud(server) as stream:
        before = stream.last_id
        send(server, {"Content-Type": BATCH}, batch)
        live = [stream.cloud_event()["id"] for _ in range(700)]
    assert before == 0
    with Cloud(server, "?last_event_id=0&event_type=replayed") as stream:
        replayed = [stream.cloud_event()["id"] for _ in range(700)]
    assert live == replayed == [f"r{n}" for n in range(700)]


def raw(server: Server, lines: list[bytes], body: bytes) -> tuple[int, bytes]:
    """Send a request byte by byte as it stands here, and return the answer's status and body."""
    with socket.create_connection(("127.0.0.1", server.port), WAIT_SECONDS) as sock:
        head = [b"POST /ingest HTTP/1.1", b"Host: x", b"Content-Length: %d" % len(body), *lines]
        sock.sendall(b"\r\n".join([*head, b"", body]))
        answer = http.client.HTTPResponse(sock)
        answer.begin()
        return answer.status, answer.read()


# Versions of gunicorn differ in the status.
GUNICORN_REFUSES = 400


@pytest.mark.parametrize(
    ("line", "status"),
    [
        (b"ce-subject: Gr\xc3\xbc\xc3\x9fe", 422),
        (b"ce-subject: \xff", 422),
        (b"ce-subject: %FF", 422),
        (b"ce-subject: %00", 422),
        (b'ce-subject: "open', 422),
        (b"ce-subject: " + b"x" * 5000, 422),
        (b"ce-ext: " + b"%41" * 2000, 201),
        (b"ce-ext: a\r\nce-ext: b", 201),
        # gunicorn takes no header with an underscore, and none of 8 KiB.
        (b"ce_id: other", 201),
        (b"ce-ext: " + b"x" * 9000, GUNICORN_REFUSES),
        (b"ce-ext: a\x00b", GUNICORN_REFUSES),
    ],
    ids=lambda value: value[:20].hex() if isinstance(value, bytes) else "",
)
def test_hostile_headers_are_refused_and_nothing_is_stored(
    server: Server, line: bytes, status: int, request: pytest.FixtureRequest
) -> None:
    id = f"hostile-{request.node.callspec.indices['line']}"
    headers = {**LEAST_HEADERS, "ce-id": id}
    lines = [f"{name}: {value}".encode() for name, value in headers.items()]
    answered, body = raw(server, [*lines, line, b"Connection: close"], b"1")
    assert answered == status or (status == GUNICORN_REFUSES and answered in (400, 431)), body
    assert (id in [event_id for _, event_id in server.stored()]) is (status == 201)


def test_a_body_in_chunks_is_a_cloud_event_too(server: Server) -> None:
    def parts() -> Iterator[bytes]:
        for byte in json.dumps(least(id="chunked", data="x" * 50)).encode():
            yield bytes((byte,))

    answer = requests.post(
        server.url("/ingest"), parts(), headers={"Content-Type": STRUCTURED}, timeout=WAIT_SECONDS
    )
    assert answer.status_code == 201, answer.text


def test_the_handshake_of_webhooks_is_answered(server: Server) -> None:
    headers = {"WebHook-Request-Origin": "eventgrid.azure.net", "WebHook-Request-Rate": "120"}
    answer = requests.options(server.url("/ingest"), headers=headers, timeout=WAIT_SECONDS)
    assert answer.status_code == 200
    assert answer.headers["WebHook-Allowed-Origin"] == "eventgrid.azure.net"
    assert answer.headers["WebHook-Allowed-Rate"] == "*"
    assert "POST" in answer.headers["Allow"]
