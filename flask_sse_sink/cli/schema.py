"""``flask sse schema``."""

from __future__ import annotations

import json

import click

from ..config import schema as config_schema


@click.command()
def schema() -> None:
    """Print the JSON Schema of the configuration file."""
    click.echo(json.dumps(config_schema.schema(), indent=2))
