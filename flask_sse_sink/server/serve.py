"""Runs gunicorn inside of this program."""

from __future__ import annotations

import sys
from typing import Any

from gunicorn import util
from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter

from .configuration import ServerConfiguration


class ConfiguredServer(BaseApplication):  # type: ignore[misc] # gunicorn has no types
    """gunicorn with the settings of our configuration, from which each reload reads again.

    gunicorn's other options, such as ``--certfile``, are taken from the environment's
    ``GUNICORN_CMD_ARGS``, and win.
    """

    #: What the check before a reload imports, too.
    app_uri = "flask_sse_sink.server.wsgi:app"

    def __init__(self, configuration: ServerConfiguration) -> None:
        self._configuration = configuration
        super().__init__(prog="gunicorn")

    def load_config(self) -> None:
        """Give gunicorn its settings."""
        self._set(self._configuration.load())
        parser = self.cfg.parser()
        self._set(vars(parser.parse_args(self.cfg.get_cmd_args_from_env())))

    def _set(self, values: dict[str, Any]) -> None:
        for name, value in values.items():
            # Versions of gunicorn differ in the settings that they know.
            if name in self.cfg.settings and value is not None:
                self.cfg.set(name, value)

    def load(self) -> Any:
        """Return the WSGI app."""
        return util.import_app(self.app_uri)

    def run(self) -> None:
        """Serve until a signal ends the program."""
        try:
            arbiter = Arbiter(self)
            # What USR2 starts: the same command, also one that began with `python -m`.
            arbiter.START_CTX["args"] = [sys.executable, *sys.orig_argv[1:]]
            arbiter.run()
        except RuntimeError as error:
            print(error, file=sys.stderr)
            raise SystemExit(1) from None
