"""gunicorn's logger, which also writes the log of this package and the streams' access log."""

from __future__ import annotations

import logging
from typing import Any

from gunicorn import glogging

from ..stream import access_log
from ..stream.connection import SILENCE
from ..stream.session import ENVIRON_KEY


class Logger(glogging.Logger):  # type: ignore[misc] # gunicorn has no types
    """gunicorn's logger, without its access log line for streams, which have two of their own."""

    def setup(self, cfg: Any) -> None:
        """Send our loggers' records to where gunicorn's own go."""
        super().setup(cfg)
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


def _is_worth_logging(record: logging.LogRecord) -> bool:
    """Return whether a record is no traceback of a client that stopped answering."""
    error = record.exc_info[1] if record.exc_info else None
    return not (isinstance(error, OSError) and error.errno in SILENCE)
