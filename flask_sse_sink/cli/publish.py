"""``flask sse publish``."""

from __future__ import annotations

from typing import Any

import click
import msgspec
from flask.cli import with_appcontext

from ..submission import new_event
from .options import current_runtime


@click.command()
@click.argument("event_type", metavar="TYPE")
@click.option("--data", default="{}", metavar="JSON", help="The event's data; {} by default.")
@click.option("--event-id", help="Makes a repeat harmless: the same id is stored once.")
@click.option("--entity-id", help="What the event is about.")
@click.option("--source", help="Who publishes; `default` by default.")
@click.option("--meta", default="{}", metavar="JSON", help="An object of your own.")
@with_appcontext
def publish(event_type: str, data: str, meta: str, **fields: str | None) -> None:
    """Store an event of TYPE and stream it; prints its id."""
    raw: dict[str, Any] = {"data": _json("--data", data), "meta": _json("--meta", meta)}
    result = current_runtime().publish([new_event(event_type, **raw, **fields)])
    click.echo(result.ids[0])


def _json(option: str, text: str) -> Any:
    """Return the JSON of an option, checked but not decoded, so that numbers keep their digits."""
    try:
        return msgspec.json.decode(text.encode(), type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise click.BadParameter(
            f"{error}; write e.g. '{{\"a\": 1}}'", param_hint=option
        ) from None
