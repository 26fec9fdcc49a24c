"""Records of the log as JSON."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

import pytest

from flask_sse_sink.server.json_log import JsonFormatter, warning
from flask_sse_sink.stream import access_log


def record(message: object, *args: object, **more: Any) -> logging.LogRecord:
    made = logging.LogRecord("a.logger", logging.ERROR, "file.py", 1, message, args, None)
    vars(made).update(more)
    return made


def line(made: logging.LogRecord) -> dict[str, Any]:
    """Return what stands in the record's line, which is one line."""
    text = JsonFormatter().format(made)
    assert text.isascii()
    assert len(text.splitlines()) == 1
    found: dict[str, Any] = json.loads(text)
    return found


def test_a_record_has_its_time_level_logger_process_and_message() -> None:
    made = record("%s of %d", "one", 2)
    found = line(made)
    assert list(found) == ["time", "level", "logger", "pid", "message"]
    assert datetime.fromisoformat(found["time"]) == datetime.fromtimestamp(made.created, UTC)
    assert found["time"].endswith("+00:00")
    assert (found["level"], found["logger"]) == ("error", "a.logger")
    assert (found["pid"], found["message"]) == (made.process, "one of 2")


@pytest.mark.parametrize(
    "text",
    [
        "a\nb\r\x85\u2028c",
        'say "no"\\',
        "\x00\x1b[31mred",
        "grüße \U0001f600",
        '"}\n{"level":"info',
    ],
)
def test_any_message_is_one_line_and_read_back_whole(text: str) -> None:
    assert line(record(text))["message"] == text
    assert line(record("%s", text))["message"] == text


def test_half_of_a_character_is_written_so_that_every_reader_takes_it() -> None:
    assert line(record("a\udc80b"))["message"] == "a\\udc80b"


def test_a_traceback_is_a_value_of_its_own() -> None:
    try:
        raise ValueError("wrong ?ticket=abc")
    except ValueError:
        found = line(record("failed", exc_info=sys.exc_info()))
    assert found["message"] == "failed"
    assert found["exception"].startswith("Traceback ")
    assert found["exception"].endswith("ValueError: wrong ?ticket=***")


def test_tickets_and_tokens_are_hidden_in_every_value() -> None:
    found = line(record('GET "/?ticket=abc.def"&access_token=xyz', stack_info="at ?token=abc"))
    assert found["message"] == 'GET "/?ticket=***"&access_token=***'
    assert found["stack"] == "at ?token=***"
    fields = {"message": "m", "query": "ticket=abc", "user": None, "seconds": 1.5}
    found = line(record("ticket=abc", **{access_log.FIELDS: fields}))
    assert {name: found[name] for name in fields} == {**fields, "query": "ticket=***"}


def test_what_is_said_before_there_is_a_logger_is_a_line_as_well() -> None:
    found = json.loads(warning("too few"))
    assert (found["level"], found["message"]) == ("warning", "too few")
