"""``flask sse openapi`` and ``flask sse asyncapi``."""

from __future__ import annotations

import click
from flask import current_app
from flask.cli import with_appcontext

from ..description.openapi import VERSIONS, Version
from ..web.description import address, asyncapi_document, openapi_document, text
from .options import current_runtime


@click.command()
@click.option(
    "--version",
    type=click.Choice(VERSIONS),
    default=VERSIONS[0],
    show_default=True,
    help="The version of OpenAPI; only 3.2 can say what a stream consists of.",
)
@with_appcontext
def openapi(version: Version) -> None:
    """Print the OpenAPI document of the app's endpoints."""
    settings = current_runtime().settings
    document = openapi_document(current_app, settings, address(settings), version)
    click.echo(text(document), nl=False)


@click.command()
@with_appcontext
def asyncapi() -> None:
    """Print the AsyncAPI document of the endpoints that carry events."""
    settings = current_runtime().settings
    click.echo(text(asyncapi_document(current_app, settings, address(settings))), nl=False)
