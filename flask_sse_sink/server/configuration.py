"""The configuration that gunicorn's master has in force: a reload with a mistake keeps it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from .. import metrics
from ..access.from_settings import from_settings as access_from_settings
from ..config import loading
from ..config.addresses import Host
from ..config.databases import MEMORY_URL, is_in_memory
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


class Overrides(NamedTuple):
    """What a command line says in place of the file; None where it says nothing."""

    host: Host | None = None
    port: int | None = None
    workers: int | None = None

    def applied_to(self, settings: Settings) -> Settings:
        """Return the settings with these values."""
        given = {name: value for name, value in self._asdict().items() if value is not None}
        server = msgspec.structs.replace(settings.server, **given)
        return msgspec.structs.replace(settings, server=server)


NO_OVERRIDES = Overrides()


class ServerConfiguration:
    """The configuration that the workers of one master get.

    gunicorn runs its own configuration file at its start and at each reload; this object
    outlives the reloads, so that the last usable configuration stays in force. ``dotenv`` is read
    before the configuration file, each time; ``overrides`` win over the file. ``on_ready`` is
    called with the address of the server's page when the server listens.
    """

    def __init__(
        self,
        dotenv: Path = Path(".env"),
        overrides: Overrides = NO_OVERRIDES,
        on_ready: Callable[[str], None] | None = None,
    ) -> None:
        self._dotenv = dotenv
        self._overrides = overrides
        self._on_ready = on_ready
        self._in_force: _Loaded | None = None

    def load(self) -> dict[str, Any]:
        """Read the configuration file, and return gunicorn's settings and hooks for it.

        Where the configuration holds mistakes or the log is unusable: at the start, prints all
        mistakes on standard error and ends the program with status 2 or 1; at a reload, logs them
        and returns what was in force before.
        """
        master = wsgi_server.gunicorn_master()
        environment = dict(os.environ)
        try:
            loaded = self._read(master)
        except (ConfigError, LogUnavailable) as error:
            if master is None or self._in_force is None:
                print(error, file=sys.stderr)
                raise SystemExit(2 if isinstance(error, ConfigError) else 1) from None
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
        settings = self._overrides.applied_to(loading.read(file))
        # A log that can't be used ends the master once here. If only the workers found out, each
        # of them would end, and gunicorn would start another in its place.
        open_log(settings.database).inspect()
        if is_in_memory(settings.database) and settings.server.workers > 1:
            raise ConfigError(
                f"{file}: database.url: {MEMORY_URL} is for a single process: each worker would "
                "have events of its own; set server.workers: 1, or name a file"
            )
        # The same goes for a key's file that can't be read, and for a library that is missing.
        access_from_settings(settings)
        metrics.prepare()
        gunicorn = (
            gunicorn_settings(settings) | Hooks(settings, self.snapshot, self._on_ready).by_name()
        )
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
        loading.load_variables(self._dotenv)
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
