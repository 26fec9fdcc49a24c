"""The event log in Redis Streams.

The library `redis` is optional: it is imported when a log is opened.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...config.databases import DATABASES, no_log, scheme_of
from ...config.settings import DatabaseSettings
from ...exceptions import ConfigError
from . import url


class RedisDatabase:
    """A :class:`~flask_sse_sink.config.databases.DatabaseKind`: a URL of Redis."""

    def __init__(self, has_replicas: bool = True) -> None:
        self.has_replicas = has_replicas

    def check(self, settings: DatabaseSettings) -> str:
        scheme = scheme_of(settings)
        if not settings.url.removeprefix(f"{scheme}://").strip("/"):
            return no_log(settings)
        return url.fault(settings.url)

    def resolved(self, settings: DatabaseSettings, base: Path) -> DatabaseSettings:
        return settings

    def open(self, settings: DatabaseSettings) -> Any:
        try:
            from .connect import refused_option
            from .log import RedisLog
        except ImportError as error:
            raise ConfigError(
                "database.url: Redis needs one more library: pip install 'flask-sse-sink[redis]'"
            ) from error
        if fault := refused_option(settings.url):
            raise ConfigError(f"database.url: {fault}")
        return RedisLog(settings.url, settings.replicas)


for _scheme in url.SCHEMES:
    # `database.replicas` can't be kept in a cluster.
    DATABASES.register(_scheme, RedisDatabase(has_replicas=_scheme != url.CLUSTER))
