"""gunicorn's logger, which also writes the log of this package and the streams' access log."""

from __future__ import annotations

import logging
from typing import Any

from gunicorn import glogging

from ..access.masking import masked
from ..stream import access_log
from ..stream.connection import SILENCE
from ..stream.session import ENVIRON_KEY


class MaskingFormatter(logging.Formatter):
    """Hides tickets in what another formatter returns, tracebacks included."""

    def __init__(self, inner: logging.Formatter | None) -> None:
        super().__init__()
        self._inner = inner or logging.Formatter()

    def format(self, record: logging.LogRecord) -> str:
        """Return the record's text, without tickets."""
        return masked(self._inner.format(record))


class Logger(glogging.Logger):  # type: ignore[misc] # gunicorn has no types
    """gunicorn's logger, without its access log line for streams, which have two of their own.

    No line has a ticket: ``ticket=`` is followed by stars.
    """

    #: Makes, from the formatter of a handler, what takes its place.
    formatter_class: type[logging.Formatter] = MaskingFormatter

    def setup(self, cfg: Any) -> None:
        """Send our loggers' records to where gunicorn's own go."""
        super().setup(cfg)
        for handler in {*self.error_log.handlers, *self.access_log.handlers}:
            if not isinstance(handler.formatter, self.formatter_class):
                handler.setFormatter(self.formatter_class(handler.formatter))
        # With --access-logfile the streams' lines are written to the same file.
        access_log.log.disabled = not cfg.accesslog
        if cfg.accesslog:
            access_log.log.handlers = list(self.access_log.handlers)
            access_log.log.propagate = False
            access_log.log.setLevel(logging.INFO)
        ours = logging.getLogger("flask_sse_sink")
        ours.handlers = list(self.error_log.handlers)
        ours.setLevel(self.error_log.level)
        if _is_worth_logging not in self.error_log.filters:
            self.error_log.addFilter(_is_worth_logging)

    def access(self, resp: Any, req: Any, environ: Any, request_time: Any) -> None:
        """Write the access log's line for a request that isn't a stream."""
        if ENVIRON_KEY not in environ:
            super().access(resp, req, environ, request_time)

    def atoms(self, resp: Any, req: Any, environ: Any, request_time: Any) -> dict[str, Any]:
        """Return the parts of the access log's line, without tickets."""
        atoms: dict[str, Any] = super().atoms(resp, req, environ, request_time)
        return {
            name: masked(value) if isinstance(value, str) else value
            for name, value in atoms.items()
        }


def _is_worth_logging(record: logging.LogRecord) -> bool:
    """Return whether a record is no traceback of a client that stopped answering."""
    error = record.exc_info[1] if record.exc_info else None
    return not (isinstance(error, OSError) and error.errno in SILENCE)
