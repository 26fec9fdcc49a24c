"""The way to Redis: what a URL names, and what its errors mean."""

from __future__ import annotations

from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit, urlunsplit

import redis
from redis import exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

TIMEOUT_SECONDS = 5.0
_CONNECTIONS = 16

#: What the client raises. A cluster's own errors are no kind of RedisError.
ERRORS = (redis.RedisError, exceptions.RedisClusterException, OSError)
#: Those after which the next try comes in a while: Redis can't be reached.
UNREACHABLE = (
    *(redis.ConnectionError, redis.TimeoutError, OSError),
    *(exceptions.RedisClusterException, exceptions.ClusterDownError),
)

# For each kind of error what clients are told, who may be anybody, and the cause with its cure.
# The most special kinds stand first: a busy Redis is an error of the connection too.
_CURES: dict[type[Exception], tuple[str, str]] = {
    redis.AuthenticationError: (
        "the event log can't be opened",
        "the password is wrong or missing; put it into database.url",
    ),
    redis.BusyLoadingError: (
        "the event log is being loaded",
        "Redis is loading its data; wait until it has",
    ),
    redis.OutOfMemoryError: (
        "Redis has no memory left",
        "Redis has no memory left; raise its maxmemory, or keep fewer events "
        "(database.retention, database.retention_count)",
    ),
    redis.ReadOnlyError: (
        "the event log can't be written",
        "this Redis is a replica, which can't be written; name its master, "
        "or its sentinels with redis+sentinel://",
    ),
    redis.TimeoutError: (
        "Redis doesn't answer",
        f"no answer for {TIMEOUT_SECONDS:g} s; look whether Redis is overloaded, "
        "or something on the way swallows packets",
    ),
    redis.ConnectionError: (
        "Redis can't be reached",
        "Redis can't be reached; start it, or mend host, port or network",
    ),
    exceptions.ClusterDownError: (
        "the event log is away",
        "the cluster doesn't serve all its slots; see CLUSTER INFO",
    ),
    exceptions.RedisClusterException: (
        "the event log is away",
        "the cluster can't be used; start its nodes (and give each its slots), or name one Redis "
        "with redis://",
    ),
}
_CITED: dict[type[Exception], str] = {
    redis.OutOfMemoryError: "-OOM ",
    redis.ReadOnlyError: "-READONLY ",
}


def connect(url: str, timeout: float) -> Any:
    """Return a client of what the URL names; it connects when it is first used.

    But for a cluster's, which asks here which nodes there are. ``timeout`` is in seconds, of
    connecting and of each answer; half of it for each node of a cluster.

    :raises RedisClusterException: no node of the cluster can be reached.
    """
    options: dict[str, Any] = {
        "socket_timeout": timeout,
        "socket_connect_timeout": timeout,
        "socket_keepalive": True,
        "protocol": 2,
        # A repeat is the caller's to decide: a producer's own, or the relay's next turn.
        "retry": Retry(NoBackoff(), 0),
    }
    url = _in_redis_words(url)
    parts = urlsplit(url)
    if parts.scheme == "redis+cluster":
        plain = urlunsplit(parts._replace(scheme="redis"))
        # After a node that doesn't answer, all are asked which others there are.
        options["socket_timeout"] = options["socket_connect_timeout"] = timeout / 2
        try:
            return redis.RedisCluster.from_url(plain, **options)
        except LookupError as error:
            # It looks for the first of the nodes that have slots, and there is none.
            raise exceptions.RedisClusterException("no node has slots") from error
    if parts.scheme == "redis+sentinel":
        return _through_sentinels(url, options)
    if parts.scheme == "unix":
        for name in ("socket_connect_timeout", "socket_keepalive"):
            del options[name]
    pool = redis.BlockingConnectionPool.from_url(
        url, max_connections=_CONNECTIONS, timeout=timeout, **options
    )
    return redis.Redis(connection_pool=pool)


def refused_option(url: str) -> str:
    """Return which of the options in a URL, after its ``?``, the library refuses; opens nothing.

    Without their values, one of which may be a password.
    """
    parts = urlsplit(_in_redis_words(url))
    if not parts.query or parts.scheme == "redis+sentinel":
        return ""
    place = f"{parts.scheme.removesuffix('+cluster')}://localhost/"
    for name, value in parse_qsl(parts.query, keep_blank_values=True):
        try:
            pool = redis.ConnectionPool.from_url(f"{place}?{urlencode([(name, value)])}")
            pool.connection_class(**pool.connection_kwargs)
        except (redis.RedisError, TypeError, ValueError, OSError):
            return f"its option {name[:80]} can't be used; leave it out, or mend its value"
    return ""


def disconnect(client: Any) -> None:
    """Close all connections of a client that :func:`connect` made."""
    client.close()
    # It leaves a pool that it was given to its giver.
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


def _in_redis_words(url: str) -> str:
    for name, same in (("valkeys://", "rediss://"), ("valkey://", "redis://")):
        if url.startswith(name):
            return same + url.removeprefix(name)
    return url


def cure(error: Exception) -> tuple[str, str]:
    """Return what is wrong in short, for clients, and in full, with what to do about it."""
    if isinstance(error, exceptions.RedisClusterException) and isinstance(
        error.__cause__, redis.RedisError
    ):
        # What the node that was tried last has said.
        error = error.__cause__
    for kind, (public, told) in _CURES.items():
        # Before Redis 7, a script's error only cites the one that it had.
        if isinstance(error, kind) or _CITED.get(kind, "\0") in str(error):
            return public, f"{told} ({error})"
    return "the event log is away", str(error) or type(error).__name__
