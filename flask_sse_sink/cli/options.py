"""What several commands share: their options, and how they find the extension."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import click
from flask import current_app
from flask.cli import ScriptInfo

from ..config import loading
from ..config.databases import MEMORY_URL, is_in_memory
from ..config.settings import Settings
from ..extension import runtime_of
from ..filters import ENTITY_ID, EVENT_TYPE, SOURCE, Filter, MalformedQuery, parse_query
from ..filters.exact import repeated_to_stay_whole
from ..log import EventLog
from ..runtime import Runtime
from ..stream.since import parse_since
from ..stream.subscription import ResumePosition, parse_position


def load_runtime(ctx: click.Context) -> Runtime:
    """Return what runs for the app, which is loaded now: a command that needs no app asks not.

    :raises click.ClickException: the app has no SSESink.
    """
    try:
        return runtime_of(ctx.ensure_object(ScriptInfo).load_app())
    except RuntimeError as error:
        raise click.ClickException(str(error)) from error


def log_of(runtime: Runtime) -> EventLog:
    """Return the configured log, which this process shares with the server.

    :raises click.ClickException: the log is in the memory of the server.
    """
    if is_in_memory(runtime.settings.database):
        raise click.ClickException(
            f"the log is in the memory of the server's process ({MEMORY_URL}); name a file in "
            "database.url, or ask the server: `publish --url`, `tail`, `stats`"
        )
    return runtime.log


def own_url(settings: Settings) -> str:
    """Return the address under which the configured server is found on this machine."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.server.host, settings.server.host)
    return f"http://{f'[{host}]' if ':' in host else host}:{settings.server.port}"


def current_runtime() -> Runtime:
    """Return what runs for the current app.

    :raises click.ClickException: the app has no SSESink.
    """
    try:
        return runtime_of(current_app)
    except RuntimeError as error:
        raise click.ClickException(str(error)) from error


def _use_config(ctx: click.Context, param: click.Parameter, value: Path | None) -> None:
    # The variable is what every part asks, in workers too.
    if value is not None:
        os.environ[loading.FILE_VARIABLE] = str(value.absolute())


config_option = click.option(
    "--config",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    callback=_use_config,
    expose_value=False,
    help="The configuration file; by default config.yaml, or the one in SSE_SINK_CONFIG.",
)


class Since(NamedTuple):
    """The value of ``--since``, and the position that it means."""

    text: str
    position: ResumePosition

    @property
    def parameter(self) -> str:
        """Return the parameter of a stream's query that takes this text."""
        return "last_event_id" if self.position.since_us is None else "since"


def _parse_since(ctx: click.Context, param: click.Parameter, value: str | None) -> Since | None:
    text = (value or "").strip()
    try:
        position = parse_position(None, text)
    except ValueError:
        pass
    else:
        return None if position is None else Since(text, position)
    try:
        return Since(text, ResumePosition(0, since_us=parse_since(text)))
    except ValueError:
        raise click.BadParameter(
            f"{text[:80]!r} is no event's id and no time; write an id, `earliest`, "
            "how long ago it was, e.g. `10m`, or when, e.g. `2026-11-25T10:00:00Z`"
        ) from None


since_option = click.option(
    "--since",
    metavar="ID|TIME",
    callback=_parse_since,
    help="Begin after the event with this id, or with those stored since `10m` ago or since "
    "`2026-11-25T10:00:00Z`; `earliest` is all that is kept.",
)

Query = dict[str, list[str]]


def _refuse_empty(
    ctx: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> tuple[str, ...]:
    # An empty value would be passed over, and let everything through.
    if "" in values:
        raise click.BadParameter("is empty")
    return values


_event_type_option = click.option(
    "--event-type", multiple=True, metavar="PATTERN", help="Only these types; may be repeated."
)
_entity_id_option = click.option(
    "--entity-id",
    multiple=True,
    metavar="ID",
    callback=_refuse_empty,
    help="Only events about this entity; may be repeated.",
)
_source_option = click.option(
    "--source",
    multiple=True,
    metavar="NAME",
    callback=_refuse_empty,
    help="Only events of this source; may be repeated.",
)


def filter_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options of a filter to a command, which gets their values as ``query``.

    Each entity's id and each source's name is taken whole, whatever commas it holds.
    """

    @functools.wraps(command)
    def with_query(
        event_type: tuple[str, ...],
        entity_id: tuple[str, ...],
        source: tuple[str, ...],
        **others: Any,
    ) -> None:
        query = {
            EVENT_TYPE: list(event_type),
            ENTITY_ID: repeated_to_stay_whole(entity_id),
            SOURCE: repeated_to_stay_whole(source),
        }
        command(query=query, **others)

    for option in (_source_option, _entity_id_option, _event_type_option):
        with_query = option(with_query)
    return with_query


def filter_of(query: Query) -> Filter:
    """Return the filter of a query that the options gave.

    :raises click.BadParameter: it is malformed.
    """
    try:
        return parse_query(query)
    except MalformedQuery as error:
        option = f"--{error.criterion.replace('_', '-')}"
        raise click.BadParameter(str(error), param_hint=option) from None
