"""``flask sse revoke``, ``unrevoke`` and ``revocations``."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import click
from flask.cli import with_appcontext

from .. import revoking
from ..access.revocations import RevokedSubjects
from ..runtime import Runtime
from .options import current_runtime

_PAGE = 1000

_issuer_option: Callable[[Any], Any] = click.option(
    "--issuer", metavar="URL", help="Only this issuer's subject; by default every issuer's."
)


@contextlib.contextmanager
def _runtime() -> Iterator[Runtime]:
    """Lend the app's runtime, and close the log after it."""
    runtime = current_runtime()
    try:
        yield runtime
    finally:
        runtime.log.close()


def _named(context: click.Context, parameter: click.Parameter, value: str) -> str:
    """Return the subject.

    :raises click.BadParameter: it is empty, as where a script's variable has no value.
    """
    if not value:
        raise click.BadParameter("is empty; name whom to revoke")
    return value


@click.command()
@click.argument("subject", callback=_named)
@_issuer_option
@with_appcontext
def revoke(subject: str, issuer: str | None) -> None:
    """Refuse the tokens and tickets that SUBJECT was issued until now, and end its streams.

    SUBJECT is a token's `sub`, or the name of a static token, which is refused until `unrevoke`.
    """
    with _runtime() as runtime:
        revoking.revoke(runtime, subject, issuer)
    click.echo(f"Revoked {subject}; its open streams end within two seconds.", err=True)


@click.command()
@click.argument("subject")
@_issuer_option
@with_appcontext
def unrevoke(subject: str, issuer: str | None) -> None:
    """Take the revocation of SUBJECT back."""
    with _runtime() as runtime:
        if not revoking.unrevoke(runtime, subject, issuer):
            raise click.ClickException(
                f"{subject} isn't revoked{f' for {issuer}' if issuer is not None else ''}; "
                "`flask sse revocations` lists who is"
            )
    click.echo(f"{subject} is no longer revoked.", err=True)


@click.command()
@with_appcontext
def revocations() -> None:
    """Print who is revoked, the oldest first: since when, the subject, and the issuer if any."""
    with _runtime() as runtime:
        revoked = RevokedSubjects()
        log, position = runtime.log.revocations, 0
        while page := log.changes(position, _PAGE):
            revoked.apply(page)
            position = page[-1].position
        for each in revoked.in_force():
            at = datetime.fromtimestamp(each.revoked_at_us / 1_000_000, UTC)
            issuer = "" if each.issuer is None else f"  {each.issuer}"
            click.echo(f"{at.isoformat(timespec='seconds')}  {each.subject}{issuer}")
