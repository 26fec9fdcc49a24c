"""Hides tickets and tokens of URLs in what is written down: log lines, errors, tracebacks."""

from __future__ import annotations

import logging
import re
from collections.abc import MutableMapping
from typing import Any

from .credentials import TICKET, URL_TOKENS

_MASK = "***"


# Tokens in a URL are refused, but those who send them still have them logged.
_NAMES = (TICKET, *URL_TOKENS)


def _encoded(name: str) -> str:
    """Return a regular expression for a name whose letters may be encoded."""
    return "".join(f"(?:{re.escape(letter)}|%{ord(letter):02x})" for letter in name)


# The characters of a ticket or token, as they are or encoded; what follows may be the next field
# of a log line. The name is as a query has it; in a query that stands inside another one, `=` is
# `%3D`.
_SECRET = re.compile(
    rf"((?:{'|'.join(map(_encoded, _NAMES))})(?:=|%(?:25)*3d))[\w.~%*+/-]+",
    re.IGNORECASE,
)
# One of these stands in every text that has a secret.
_SIGNS = (TICKET, *URL_TOKENS, "%")
# Where a request's URL and the URL of the page that it came from stand in a WSGI environment.
_KEYS = ("QUERY_STRING", "RAW_URI", "REQUEST_URI", "HTTP_REFERER")


def masked(text: str) -> str:
    """Return the text with three stars in place of every value of ``ticket=``, ``token=``, ….

    The names are :data:`~.credentials.TICKET` and :data:`~.credentials.URL_TOKENS`.
    """
    return _SECRET.sub(rf"\1{_MASK}", text)


def mask_record(record: logging.LogRecord) -> bool:
    """Hide tickets and tokens in a log record: a filter for loggers, which lets each through."""
    message = record.getMessage()
    hidden = masked(message)
    if hidden != message:
        record.msg, record.args = hidden, ()
    return True


def mask_environ(environ: MutableMapping[str, Any]) -> None:
    """Hide tickets and tokens in a request's environment, which others write to their logs.

    Flask's ``request.args`` keeps what the client sent.
    """
    for key in _KEYS:
        value = environ.get(key)
        # Most requests have none of these, and then nothing is searched for.
        if isinstance(value, str) and any(part in value for part in _SIGNS):
            environ[key] = masked(value)
