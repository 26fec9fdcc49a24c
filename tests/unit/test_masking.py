"""Tickets in texts that are written down."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import pytest
from flask import request

from flask_sse_sink.access.masking import mask_environ, mask_record, masked
from flask_sse_sink.server.logger import MaskingFormatter
from support.apps import MakeApp


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("GET /inbox/?ticket=abc.d-e_f HTTP/1.1", "GET /inbox/?ticket=*** HTTP/1.1"),
        ("/?a=1&ticket=abc&b=2", "/?a=1&ticket=***&b=2"),
        ("ticket=abc#there", "ticket=***#there"),
        ("ticket=", "ticket="),
        ("/?TICKET=abc", "/?TICKET=***"),
        ("/?%74ic%6Bet=abc", "/?%74ic%6Bet=***"),
        ("/?next=%2Finbox%3Fticket%3Dabc&x=1", "/?next=%2Finbox%3Fticket%3D***&x=1"),
        ("/?next=ticket%25253dabc", "/?next=ticket%25253d***"),
        ('"http://h/?ticket=a"', '"http://h/?ticket=***"'),
        ("two: ticket=a ticket=b", "two: ticket=*** ticket=***"),
        ("the tickets = many", "the tickets = many"),
        ("/?access_token=abc.d-e_f&a=1", "/?access_token=***&a=1"),
        ("/?token=abc%3D%3D HTTP/1.1", "/?token=*** HTTP/1.1"),
        ("/?authorization=Bearer+abc", "/?authorization=***"),
        ("/?authori%7Aation=Bearer%20abc", "/?authori%7Aation=***"),
    ],
)
def test_the_value_of_a_ticket_or_token_is_masked(text: str, expected: str) -> None:
    assert masked(text) == expected


def test_an_environment_keeps_no_ticket() -> None:
    environ = {
        "QUERY_STRING": "ticket=abc&event_type=a",
        "RAW_URI": "/inbox/?ticket=abc",
        "HTTP_REFERER": "http://h/inbox/?ticket=abc",
        "REQUEST_METHOD": "GET",
    }
    mask_environ(environ)
    assert "abc" not in str(environ)
    assert environ["QUERY_STRING"] == "ticket=***&event_type=a"


@pytest.mark.parametrize("name", ["access_token", "token", "authorization"])
def test_an_environment_keeps_no_token(name: str) -> None:
    environ = {"QUERY_STRING": f"{name}=abc", "RAW_URI": f"/inbox/?{name}=abc"}
    mask_environ(environ)
    assert environ == {"QUERY_STRING": f"{name}=***", "RAW_URI": f"/inbox/?{name}=***"}


def test_a_message_and_a_traceback_have_no_ticket() -> None:
    formatter = MaskingFormatter(logging.Formatter("%(levelname)s %(message)s"))
    try:
        raise ValueError("/inbox/?ticket=abc")
    except ValueError:
        record = logging.LogRecord(
            "a", logging.ERROR, "f", 1, "at %s", ("/?ticket=abc",), sys.exc_info()
        )
    text = formatter.format(record)
    assert text.startswith("ERROR at /?ticket=***\nTraceback")
    assert "ValueError: /inbox/?ticket=***" in text
    assert "abc" not in text


def test_the_apps_own_hooks_see_no_ticket_in_the_environment(make_app: MakeApp) -> None:
    app = make_app()
    seen: list[tuple[str, str]] = []

    @app.before_request
    def note() -> None:
        seen.append((request.environ["QUERY_STRING"], request.args["ticket"]))

    with app.test_client().get("/events_stream/?ticket=abc", buffered=False) as response:
        assert response.status_code == 200
    assert seen == [("ticket=***", "abc")]


def test_a_loggers_records_have_no_ticket(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("of_a_test")
    logger.addFilter(mask_record)
    logger.warning('"%s" %d', "GET /?ticket=abc HTTP/1.1", 200)
    logger.warning("%s", "nothing")
    assert [record.getMessage() for record in caplog.records] == [
        '"GET /?ticket=*** HTTP/1.1" 200',
        "nothing",
    ]


def test_the_mask_of_a_log_stays_when_it_is_set_up_again(tmp_path: Path) -> None:
    inner = logging.Formatter("%(message)s")
    formatter = MaskingFormatter(inner)
    record = logging.LogRecord("a", logging.INFO, "f", 1, "ticket=abc", (), None)
    assert MaskingFormatter(formatter).format(record) == "ticket=***"
    assert MaskingFormatter(None).format(record) == "ticket=***"
