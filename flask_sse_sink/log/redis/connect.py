"""Makes the library's client for a URL: of one Redis, of a cluster, or through sentinels."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

import redis
from redis import exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

from .url import CLUSTER, SENTINEL

_CONNECTIONS = 16


def connect(url: str, timeout: float) -> Any:
    """Return a client of what the URL names; it connects when it is first used.

    The exception is a cluster: it is asked here which nodes it has. ``timeout``, in seconds, is
    for connecting and for each answer; each node of a cluster gets half of it.

    :raises RedisClusterException: no node of the cluster can be reached.
    """
    options: dict[str, Any] = {
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "socket_keepalive": True,
        "protocol": 2,
        # The library repeats nothing: the producer may, and the relay does.
        "retry": Retry(NoBackoff(), 0),
    }
    url = _with_known_scheme(url)
    parts = urlsplit(url)
    if parts.scheme == CLUSTER:
        plain = urlunsplit(parts._replace(scheme="redis"))
        # After one node that doesn't answer, another is asked which nodes there are.
        options["socket_timeout"] = options["socket_connect_timeout"] = timeout / 2
        try:
            return redis.RedisCluster.from_url(plain, **options)
        except LookupError as error:
            # The library takes the first of the nodes that have slots; there is none.
            raise exceptions.RedisClusterException("no node has slots") from error
    if parts.scheme == SENTINEL:
        return _through_sentinels(url, options)
    if parts.scheme == "unix":
        for name in ("socket_connect_timeout", "socket_keepalive"):
            del options[name]
    pool = redis.BlockingConnectionPool.from_url(
        url, max_connections=_CONNECTIONS, timeout=timeout, **options
    )
    return redis.Redis(connection_pool=pool)


def refused_option(url: str) -> str:
    """Return a message that names the option in a URL which the library refuses, or nothing.

    Opens no connection. The message has no values, one of which may be a password.
    """
    parts = urlsplit(_with_known_scheme(url))
    if not parts.query or parts.scheme == SENTINEL:
        return ""
    place = f"{parts.scheme.removesuffix('+cluster')}://localhost/"
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        try:
            pool = redis.ConnectionPool.from_url(f"{place}?{urlencode([(name, value)])}")
            pool.connection_class(**pool.connection_kwargs)
        except (redis.RedisError, TypeError, ValueError, OSError):
            return f"its option {name[:80]} can't be used; leave it out, or mend its value"
    return ""


def disconnect(client: Any, *, in_use: bool = True) -> None:
    """Close the connections of a client that :func:`connect` made.

    With ``in_use`` false, those of a cluster that other threads use at this moment stay open.
    """
    if isinstance(client, redis.RedisCluster):
        # Closing the client leaves those open that its nodes keep.
        for node in client.get_nodes():  # type: ignore[no-untyped-call] # theirs
            if node.redis_connection is not None:
                node.redis_connection.connection_pool.disconnect(in_use)
    client.close()
    # The client doesn't close a pool that it was given.
    if pool := getattr(client, "connection_pool", None):
        pool.disconnect()
        manager = getattr(pool, "sentinel_manager", None)
        for sentinel in manager.sentinels if manager else ():
            sentinel.close()


def _through_sentinels(url: str, options: dict[str, Any]) -> Any:
    """Return a client of the master that sentinels know: ``//HOST,HOST:PORT/SERVICE[/DB]``."""
    parts = urlsplit(url)
    login, _, hosts = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    service, _, number = parts.path.strip("/").partition("/")
    places = []
    for place in hosts.split(","):
        host, _, port = place.rpartition(":") if ":" in place else (place, "", "26379")
        places.append((host, int(port)))
    if user:
        options["username"] = unquote(user)
    if password:
        options["password"] = unquote(password)
    asking = {"socket_timeout": 1.0, "retry": Retry(NoBackoff(), 0)}
    sentinel: Any = redis.Sentinel(places, sentinel_kwargs=asking)  # type: ignore[no-untyped-call] # theirs
    return sentinel.master_for(service, db=int(number or 0), **options)


def _with_known_scheme(url: str) -> str:
    """Return the URL with a scheme that the library knows: Valkey speaks Redis's protocol."""
    for name, same in (("valkeys://", "rediss://"), ("valkey://", "redis://")):
        if url.startswith(name):
            return same + url.removeprefix(name)
    return url
