"""``flask sse tail``."""

from __future__ import annotations

import contextlib
import itertools
from urllib.parse import urlencode

import click
import msgspec
from flask.cli import with_appcontext

from ..config.settings import Settings
from ..config.sink_types import SINK_TYPES
from ..event import decode_envelope
from ..stream.settings import SSESettings
from .completion import streaming_sinks
from .options import Query, Since, current_runtime, filter_options, since_option, token_option


@click.command()
@click.argument("sink", shell_complete=streaming_sinks)
@filter_options
@since_option
@click.option("--json", "as_json", is_flag=True, help="Whole envelopes, one a line.")
@click.option("--url", metavar="URL", help="The server's address; by default as configured.")
@token_option
@click.option("-n", "count", type=click.IntRange(1), help="Stop after so many events.")
@with_appcontext
def tail(
    sink: str,
    query: Query,
    since: Since | None,
    as_json: bool,
    url: str | None,
    token: str,
    count: int | None,
) -> None:
    """Print the events of SINK as they come, from the running server; reconnects by itself.

    With `replay` on the sink, a reconnect misses nothing, and `--since` begins in the past.
    """
    try:
        # An optional dependency.
        from .stream_reader import read
    except ImportError as error:
        raise click.ClickException(
            "tail needs one more library: pip install 'flask-sse-sink[cli]'"
        ) from error
    settings = current_runtime().settings
    server = settings.server
    base = url or f"http://{server.host}:{server.port}"
    address = base.rstrip("/") + _stream_path(settings, sink)
    if since is not None:
        _check_replay(settings, sink)
        query[since.parameter] = [since.text]
    if parameters := urlencode(query, doseq=True):
        address += "?" + parameters
    with (
        contextlib.closing(read(address, token)) as messages,
        contextlib.suppress(KeyboardInterrupt),
    ):
        for data in itertools.islice(messages, count):
            click.echo(data if as_json else line(data))


def _stream_path(settings: Settings, sink: str) -> str:
    """Return the URL path of a sink's stream.

    :raises click.BadParameter: there is no such sink, or it has no stream.
    """
    if sink not in settings.sink:
        raise click.BadParameter(f"no such sink; there are {', '.join(settings.sink)}")
    sink_settings = settings.sink[sink]
    for route in SINK_TYPES[sink_settings.type].urls(sink, sink_settings):
        if route.stream:
            return route.url
    raise click.BadParameter(f"{sink} is a sink of type {sink_settings.type}, without a stream")


def _check_replay(settings: Settings, sink: str) -> None:
    """Check that the sink replays what was stored before.

    :raises click.BadParameter: it doesn't.
    """
    sink_settings = settings.sink[sink]
    if not (isinstance(sink_settings, SSESettings) and sink_settings.replay.on):
        raise click.BadParameter(
            f"{sink} doesn't replay; set sink.{sink}.replay: true", param_hint="--since"
        )


def line(text: str) -> str:
    """Return one line for the terminal with the id, time, type and data of an envelope.

    A text that is no envelope, from a server of another kind, is returned as it is.
    """
    try:
        event = decode_envelope(text.encode())
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return text
    # The data is not decoded: it may hold a number that Python has no value for.
    data = bytes(event.data).decode()
    return f"{event.id:>8}  {event.created_at}  {event.event_type:<20}  {data}"
