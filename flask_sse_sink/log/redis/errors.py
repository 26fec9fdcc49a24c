"""What the library's errors mean: the cause with its cure, and what clients are told."""

from __future__ import annotations

import redis
from redis import exceptions

#: How long Redis may take to answer, or to accept a connection.
TIMEOUT_SECONDS = 5.0

#: What the library raises. A cluster's own errors are no kind of RedisError.
ERRORS = (redis.RedisError, exceptions.RedisClusterException, OSError)
#: Those that mean that Redis can't be reached, so that trying again at once is no use.
UNREACHABLE = (
    redis.ConnectionError,
    redis.TimeoutError,
    OSError,
    exceptions.RedisClusterException,
    exceptions.ClusterDownError,
)

# For each kind of error what clients are told, who may be anybody, and the cause with its cure.
# Subclasses stand before their bases: BusyLoadingError is a ConnectionError.
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
# How a script's error cites one of these, before Redis 7.
_CITED: dict[type[Exception], str] = {
    redis.OutOfMemoryError: "-OOM ",
    redis.ReadOnlyError: "-READONLY ",
}


def cure(error: Exception) -> tuple[str, str]:
    """Return the cause in short, for clients, and in full, with what to do about it."""
    if isinstance(error, exceptions.RedisClusterException) and isinstance(
        error.__cause__, redis.RedisError
    ):
        # The error of the node that was tried last.
        error = error.__cause__
    for kind, (public, cause) in _CURES.items():
        if isinstance(error, kind) or _CITED.get(kind, "\0") in str(error):
            return public, f"{cause} ({error})"
    return "the event log is away", str(error) or type(error).__name__
