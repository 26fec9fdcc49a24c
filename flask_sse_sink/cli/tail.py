"""``flask sse tail``."""

from __future__ import annotations

import contextlib
import itertools
import os
import subprocess
import sys
from typing import Any
from urllib.parse import urlencode

import click
import msgspec

from ..config.settings import Settings
from ..config.sink_types import SINK_TYPES
from ..event import decode_envelope
from ..stream.settings import SSESettings
from .completion import streaming_sinks
from .options import Query, Since, filter_options, load_runtime, own_url, since_option
from .server_options import header_option, needs, token_option, url_option, with_token
from .texts import printable, url_problem


@click.command()
@click.argument("sink", metavar="SINK|URL", shell_complete=streaming_sinks)
@filter_options
@since_option
@click.option("--json", "as_json", is_flag=True, help="Whole envelopes, one a line.")
@click.option(
    "--exec",
    "command",
    metavar="COMMAND",
    help="Run by the shell for each event, which it gets on its standard input.",
)
@url_option("The address of the server with this SINK; by default as configured.")
@token_option
@click.option(
    "--ticket",
    envvar="SSE_SINK_TICKET",
    metavar="T",
    help="A ticket in place of a token; better in the variable SSE_SINK_TICKET.",
)
@header_option
@click.option(
    "--retries",
    type=click.IntRange(0),
    help="Give up after so many attempts in a row without an event; by default never.",
)
@click.option("-n", "count", type=click.IntRange(1), help="Stop after so many events.")
@click.pass_context
def tail(ctx: click.Context, /, sink: str, **options: Any) -> None:
    """Print the events of a SINK, or of any event stream's URL, as they come.

    It reconnects by itself. With `replay` on the sink, a reconnect misses nothing, and `--since`
    begins in the past.
    """
    with needs("cli"):
        from .stream_reader import read
    headers = dict(with_token(options["headers"], options["token"]))
    address = _address(ctx, sink, options)
    show = _Printer(options["as_json"]) if not options["command"] else _Runner(options["command"])
    with (
        contextlib.closing(read(address, headers, options["retries"])) as events,
        contextlib.suppress(KeyboardInterrupt),
    ):
        for event in itertools.islice(events, options["count"]):
            show(event)
    if isinstance(show, _Runner) and show.failed:
        raise click.ClickException(f"the command failed for {show.failed} events")


class _Printer:
    """Prints events."""

    def __init__(self, as_json: bool) -> None:
        self._as_json = as_json
        self._is_terminal = sys.stdout.isatty()

    def __call__(self, event: Any) -> None:
        if not self._as_json:
            click.echo(line(event.data, self._is_terminal))
        else:
            click.echo(printable(event.data) if self._is_terminal else event.data)


class _Runner:
    """Runs a command for each event; ``failed`` counts those for which it failed."""

    def __init__(self, command: str) -> None:
        self._command = command
        self.failed = 0

    def __call__(self, event: Any) -> None:
        variables = {"SSE_EVENT": event.event, "SSE_EVENT_ID": event.last_event_id or ""}
        done = subprocess.run(
            self._command,
            shell=True,
            input=event.data.encode() + b"\n",
            env={**os.environ, **variables},
            check=False,
        )
        if done.returncode:
            self.failed += 1
            id = f" {event.last_event_id}" if event.last_event_id else ""
            click.echo(f"event{id}: the command exited with {done.returncode}", err=True)


def _address(ctx: click.Context, sink: str, options: dict[str, Any]) -> str:
    """Return the URL of the stream, with what the options narrow it to."""
    query: Query = {name: values for name, values in options["query"].items() if values}
    since: Since | None = options["since"]
    if "://" in sink:
        if options["url"] is not None:
            raise click.UsageError("name a URL, or a SINK with --url, not both")
        if problem := url_problem(sink):
            raise click.BadParameter(problem, param_hint="URL")
        address = sink.partition("#")[0]
    else:
        settings = load_runtime(ctx).settings
        path = _stream_path(settings, sink)
        address = (options["url"] or own_url(settings)).rstrip("/") + path
        if since is not None:
            _check_replay(settings, sink)
    if since is not None:
        query[since.parameter] = [since.text]
    if options["ticket"]:
        query["ticket"] = [options["ticket"]]
    if parameters := urlencode(query, doseq=True):
        address += ("&" if "?" in address else "?") + parameters
    return address


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


def line(text: str, is_terminal: bool = False) -> str:
    """Return one line with the id, time, type and data of an envelope.

    A text that is no envelope, from a server of another kind, is returned as it is. For a
    terminal, the line has colours, and no control characters of the event's own.
    """
    try:
        event = decode_envelope(text.encode())
    except (msgspec.MsgspecError, RecursionError, ValueError):
        return printable(text) if is_terminal else text
    # The data is not decoded: it may hold a number that Python has no value for.
    data = bytes(event.data).decode()
    at, event_type = event.created_at, f"{event.event_type:<20}"
    if is_terminal:
        at, data = click.style(printable(at), dim=True), printable(data)
        event_type = click.style(printable(event_type), fg="cyan")
    return f"{event.id:>8}  {at}  {event_type}  {data}"
