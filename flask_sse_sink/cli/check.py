"""``flask sse check``."""

from __future__ import annotations

import click
from flask.cli import ScriptInfo

from ..config.access_checks import warnings
from ..config.settings import TICKETS_PATH
from ..config.sink_types import routes
from ..extension import runtime_of


@click.command()
@click.pass_context
def check(ctx: click.Context) -> None:
    """Check the configuration, and print the endpoints."""
    settings = runtime_of(ctx.ensure_object(ScriptInfo).load_app()).settings
    click.echo("The configuration is right.", err=True)
    click.echo(f"  POST {settings.ingest.path}")
    if settings.access.secret.values:
        click.echo(f"  POST {TICKETS_PATH}")
    for _, route in routes(settings.sink):
        click.echo(f"  {route.method:<4} {route.url}  {route.about}")
    for warning in warnings(settings):
        click.echo(f"Warning: {warning}.", err=True)
    access = settings.access
    is_closed = not (settings.ingest.tokens or access.tokens or access.issuers)
    if settings.ingest.auth != "none" and is_closed:
        click.echo("Nobody may publish over HTTP yet: set ingest.tokens.", err=True)
