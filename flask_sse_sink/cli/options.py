"""What several commands share: their options, and how they find the extension."""

from __future__ import annotations

import click
from flask import current_app

from ..extension import runtime_of
from ..runtime import Runtime
from ..stream.subscription import ResumePosition, parse_position


def current_runtime() -> Runtime:
    """Return what runs for the current app.

    :raises click.ClickException: the app has no SSESink.
    """
    try:
        return runtime_of(current_app)
    except RuntimeError as error:
        raise click.ClickException(str(error)) from error


def _parse_since(
    ctx: click.Context, param: click.Parameter, value: str | None
) -> ResumePosition | None:
    try:
        return parse_position(None, value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


since_option = click.option(
    "--since",
    metavar="ID",
    callback=_parse_since,
    help="Begin after the event with this id; `earliest` is all that is kept.",
)
event_type_option = click.option(
    "--event-type", multiple=True, metavar="PATTERN", help="Only these types; may be repeated."
)
