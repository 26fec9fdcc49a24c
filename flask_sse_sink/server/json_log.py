"""The server's log as JSON, one object a line."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from ..access.masking import masked
from ..stream import access_log
from ..web import request_id
from .logger import Logger

#: gunicorn's names of the parts of a request that the access log has, and ours.
_REQUEST = {
    "h": "remote_address",
    "u": "user",
    "m": "method",
    "U": "path",
    "q": "query",
    "H": "protocol",
    "s": "status",
    "B": "bytes",
    "D": "seconds",
    "f": "referer",
    "a": "user_agent",
    "{x-request-id}o": "request_id",
}


class JsonFormatter(logging.Formatter):
    """Returns a record as one line of JSON: ASCII, and without tickets and tokens.

    What another formatter would have made of it is left out.
    """

    def __init__(self, inner: logging.Formatter | None = None) -> None:
        super().__init__()

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end."""
        fields = _fields(record)
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            fields["stack"] = record.stack_info
        time = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds")
        return _line(
            {
                "time": time,
                "level": record.levelname.lower(),
                "logger": record.name,
                "pid": record.process,
                **fields,
            }
        )


class _Atoms(dict[str, Any]):
    """The parts of a request as they are; gunicorn's own class escapes quotes in them."""

    def __missing__(self, key: str) -> str:
        return "-"


class JsonLogger(Logger):
    """The server's logger where ``server.log_format`` is ``json``."""

    atoms_wrapper_class = _Atoms
    formatter_class = JsonFormatter

    def setup(self, cfg: Any) -> None:
        """Format the records of gunicorn, this package and all libraries as JSON."""
        super().setup(cfg)
        root = logging.getLogger()
        if not root.handlers:
            # Else the warnings of libraries would be written as plain text.
            root.handlers = list(self.error_log.handlers)


def warning(message: str) -> str:
    """Return a line for what is said before there is a logger."""
    level = logging.WARNING
    record = logging.LogRecord("flask_sse_sink", level, "", 0, message, None, None)
    return JsonFormatter().format(record)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    """Return the message, and what else a line of an access log has."""
    if record.name == "gunicorn.access" and isinstance(record.args, Mapping):
        return _request(record.args)
    if fields := getattr(record, access_log.FIELDS, None):
        return dict(fields)
    message, id = record.getMessage(), getattr(record, "request_id", None)
    if id is None:
        return {"message": message}
    return {"message": message.removesuffix(request_id.suffix(id)), "request_id": id}


def _request(atoms: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a request; ``atoms`` are gunicorn's."""
    # gunicorn writes "-" for what isn't there.
    fields = {name: None if atoms[a] == "-" else atoms[a] for a, name in _REQUEST.items()}
    fields["seconds"] = atoms["D"] / 1_000_000
    if str(atoms["s"]).isdigit():
        fields["status"] = int(atoms["s"])
    return {"message": "{method} {path} {status}".format_map(fields), **fields}


def _line(fields: Mapping[str, Any]) -> str:
    # Each value by itself: in the whole line, a mask could take the end of a string with it.
    return json.dumps({k: _text(v) if isinstance(v, str) else v for k, v in fields.items()})


def _text(value: str) -> str:
    """Return the text without tickets, and without halves of characters, which no JSON has."""
    return masked(value).encode("utf-8", "backslashreplace").decode()
