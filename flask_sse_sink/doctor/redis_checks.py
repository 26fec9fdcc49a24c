"""What Redis says of itself that matters to a log: its memory, and what survives a crash.

Needs the library `redis`.
"""

from __future__ import annotations

from typing import Any

from ..exceptions import LogUnavailable
from ..log.redis.client import Client
from ..log.redis.errors import TIMEOUT_SECONDS
from .machine import megabytes
from .report import Finding, Report

_NEARLY_FULL = 0.9


def check_redis(report: Report, url: str) -> None:
    """Check the memory and the persistence of the Redis that the URL names."""
    client = Client(url, TIMEOUT_SECONDS)
    try:
        with client.lend() as (db, _):
            memory, persistence = _info(db, "memory"), _info(db, "persistence")
    except LogUnavailable as error:
        report.skip("redis", str(error))
        return
    finally:
        client.close()
    _check_memory(report, memory)
    if persistence.get("aof_enabled"):
        report.ok("redis", "appendonly is on")
    elif persistence:
        report.note(
            "redis",
            "appendonly is no: a crash of Redis loses what came since its last snapshot; set "
            "appendonly yes and appendfsync always",
        )


def _info(db: Any, section: str) -> dict[str, Any]:
    """Return a section of what one Redis says; of a cluster, what its first node says."""
    info: dict[str, Any] = db.info(section)
    first = next(iter(info.values()), None)
    return first if isinstance(first, dict) else info


def _check_memory(report: Report, memory: dict[str, Any]) -> None:
    used, most = int(memory.get("used_memory", 0)), int(memory.get("maxmemory", 0))
    policy = str(memory.get("maxmemory_policy", ""))
    if policy.startswith("allkeys"):
        report.find(
            Finding(
                "redis",
                f"maxmemory-policy is {policy}",
                "Redis deletes any key, also the log, when its memory is full",
                "set maxmemory-policy noeviction",
            )
        )
    elif most and used > _NEARLY_FULL * most:
        report.find(
            Finding(
                "redis",
                f"{megabytes(used)} of {megabytes(most)} (maxmemory) are in use",
                "the memory is nearly full; then no event is stored, and ingest answers 503",
                "raise maxmemory, or keep fewer events: database.retention, "
                "database.retention_count",
            )
        )
    else:
        bound = f"of {megabytes(most)}" if most else "without a limit (maxmemory)"
        report.ok("redis", f"{megabytes(used)} in use {bound}")
