"""The configuration that gunicorn's master has in force: a reload with a mistake keeps it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from dotenv import load_dotenv

from .. import metrics
from ..access.from_settings import from_settings as access_from_settings
from ..config import loading
from ..config.settings import Settings
from ..exceptions import ConfigError, LogUnavailable
from ..log import open_log
from ..stream import wsgi_server
from . import addresses, reload
from .gunicorn_settings import gunicorn_settings
from .hooks import Hooks


class _Loaded(NamedTuple):
    """What was read from the configuration file, and from ``.env``."""

    file: Path
    settings: Settings
    #: What gunicorn is told: its settings and hooks.
    gunicorn: dict[str, Any]
    #: The environment's variables that come from ``.env``.
    variables: dict[str, str]


class ServerConfiguration:
    """The configuration that the workers of one master get.

    gunicorn runs its own configuration file at its start and at each reload; this object
    outlives the reloads, so that the last usable configuration stays in force.
    """

    def __init__(self) -> None:
        self._in_force: _Loaded | None = None

    def load(self) -> dict[str, Any]:
        """Read the configuration file, and return gunicorn's settings and hooks for it.

        Reads ``.env`` in the working folder first. Where the configuration holds mistakes or the
        log is unusable: at the start, prints all mistakes on standard error and ends the program;
        at a reload, logs them and returns what was in force before.
        """
        master = wsgi_server.gunicorn_master()
        environment = dict(os.environ)
        try:
            loaded = self._read(master)
        except (ConfigError, LogUnavailable) as error:
            if master is None or self._in_force is None:
                print(error, file=sys.stderr)
                raise SystemExit(2) from None
            _set_environment(environment)
            master.log.error(
                "the configuration can't be used; the old one stays in force until a reload finds "
                "a right one:\n%s",
                error,
            )
            return self._in_force.gunicorn
        self._put_in_force(loaded)
        return loaded.gunicorn

    def snapshot(self) -> Callable[[], None]:
        """Return a function that restores the configuration and environment of this moment."""
        in_force, environment = self._in_force, dict(os.environ)

        def restore() -> None:
            _set_environment(environment)
            self._put_in_force(in_force)

        return restore

    def _put_in_force(self, loaded: _Loaded | None) -> None:
        if self._in_force is not None:
            loading.hold(self._in_force.file, None)
        if loaded is not None:
            # Workers get these settings and don't read the file, which may be half written when
            # one of them starts.
            loading.hold(loaded.file, loaded.settings)
        self._in_force = loaded

    def _read(self, master: Any) -> _Loaded:
        """Return what the configuration file says now; ``master`` is None before it runs.

        :raises ConfigError: it holds mistakes, or a running server can't change to it.
        :raises LogUnavailable: the log is unusable, or can't be opened.
        """
        variables = self._read_dotenv()
        file = loading.default_file()
        settings = loading.read(file)
        # A log that can't be used ends the master once here. If only the workers found out, each
        # of them would end, and gunicorn would start another in its place.
        open_log(settings.database).inspect()
        # The same goes for a key's file that can't be read, and for a library that is missing.
        access_from_settings(settings)
        metrics.prepare()
        gunicorn = gunicorn_settings(settings) | Hooks(settings, self.snapshot).by_name()
        loaded = _Loaded(file.absolute(), settings, gunicorn, variables)
        if master is not None and self._in_force is not None:
            old, new = self._in_force.gunicorn["bind"][0], gunicorn["bind"][0]
            if problem := addresses.rebind_problem(master, old, new):
                raise ConfigError(f"{file}: server.host, server.port: {problem}")
            if problem := reload.app_problem(master, lambda: self._put_in_force(loaded)):
                raise ConfigError(problem)
        return loaded

    def _read_dotenv(self) -> dict[str, str]:
        """Put what ``.env`` holds into the environment, and return it.

        Variables that an earlier ``.env`` set are removed first; one that the environment has
        from elsewhere keeps its value.
        """
        earlier = self._in_force.variables if self._in_force else {}
        for name, value in earlier.items():
            if os.environ.get(name) == value:
                del os.environ[name]
        names = set(os.environ)
        load_dotenv(Path(".env"))
        return {name: value for name, value in os.environ.items() if name not in names}


def _set_environment(variables: Mapping[str, str]) -> None:
    os.environ.clear()
    os.environ.update(variables)


_configuration = ServerConfiguration()


def configure() -> dict[str, Any]:
    """Return gunicorn's settings and hooks for the configuration file that is in force.

    See :meth:`ServerConfiguration.load`.
    """
    return _configuration.load()
