"""What the descriptions of several types of sinks share."""

from __future__ import annotations

from collections.abc import Iterator

from ..config.settings import SinkSettings
from ..description.operations import TEXT, Answer, Content, Parameter
from ..filters import CRITERIA


def filter_parameters() -> Iterator[Parameter]:
    """Yield the parameters that narrow what a sink's ``match`` lets through."""
    for name, kind in CRITERIA.items():
        schema = {"type": "array", "items": dict(kind.schema)}
        yield Parameter(name, kind.about, schema, [kind.example] if kind.example else None)


#: The answer to a query that is too long. gunicorn gives it, which has errors of its own.
TOO_LONG = Answer(
    414,
    "The URL is too long for the HTTP server: for gunicorn, more than 4094 bytes.",
    [Content("text/html", TEXT)],
    by_app=False,
)


def let_through(settings: SinkSettings) -> str:
    """Return which events a sink lets through, "" for a closed sink: that isn't for everybody."""
    if settings.access != "none":
        return ""
    patterns = ", ".join(f"`{value}`" for value in settings.match.filter.types.values())
    return f"It lets through {patterns}. "
