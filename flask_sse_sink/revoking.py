"""Revokes subjects, and takes revocations back; `SSESink` and the commands use this."""

from __future__ import annotations

import contextlib

from .exceptions import LogUnavailable
from .runtime import Runtime


def revoke(runtime: Runtime, subject: str, issuer: str | None = None) -> None:
    """Refuse what the subject was issued until now, and end its streams in every process.

    Without an ``issuer``, this is for every subject of this name. A static token of this name is
    refused until :func:`unrevoke`.

    :raises LogUnavailable: it can't be stored; nobody was revoked.
    """
    is_static = issuer is None and subject in _static_names(runtime)
    runtime.log.revocations.revoke(subject, issuer, lasting=is_static)
    _read_now(runtime)


def unrevoke(runtime: Runtime, subject: str, issuer: str | None = None) -> bool:
    """Take a revocation back; return false where there was none of this subject and issuer.

    :raises LogUnavailable: it can't be stored.
    """
    was_revoked = runtime.log.revocations.unrevoke(subject, issuer)
    _read_now(runtime)
    return was_revoked


def _static_names(runtime: Runtime) -> set[str]:
    """Return the names of the static tokens in the configuration."""
    return {token.name for token in runtime.settings.access.tokens}


def _read_now(runtime: Runtime) -> None:
    """Let this process know at once what the others read within a second."""
    if runtime.is_running:
        # What was stored is stored; if the log went away now, it is read when it is back.
        with contextlib.suppress(LogUnavailable):
            runtime.started().revocations.read()
