"""``flask sse publish``."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import click
import msgspec

from .. import submission
from ..event import NewEvent
from ..exceptions import Fault, InvalidEvent
from .group import WrongInput
from .lines import LinePublisher, Pipe, Target, Unpublished, read_lines, standard_input
from .options import load_runtime, log_of
from .server_options import needs, token_option, url_option
from .targets import LogTarget, ServerTarget


@click.command()
@click.argument("event_type", metavar="[TYPE]", required=False)
@click.option(
    "--data", metavar="JSON", help="The event's data; {} by default. @FILE reads it, - stdin."
)
@click.option("--event-id", help="Makes a repeat harmless: the same id is stored once.")
@click.option("--entity-id", help="What the event is about.")
@click.option("--source", help="Who publishes; `default` by default.")
@click.option("--meta", metavar="JSON", help="An object of your own; or @FILE, or -.")
@url_option("Publish to this server, or ingest endpoint, and not into the configured log.")
@token_option
@click.pass_context
def publish(
    ctx: click.Context,
    /,
    event_type: str | None,
    url: str | None,
    token: str,
    **fields: str | None,
) -> None:
    """Publish an event of TYPE, and print its id; or NDJSON from a pipe, one event a line.

    Of NDJSON, the lines that failed are told on standard error, and all others are published.
    """
    named = {name: value for name, value in fields.items() if value is not None}
    if event_type is None and named:
        raise click.UsageError("name the event's TYPE; without it, events are read from a pipe")
    if event_type is None and sys.stdin.isatty():
        raise click.UsageError(
            "name the event's TYPE, or pipe NDJSON: sse-sink publish < events.ndjson"
        )
    event = None if event_type is None else _event(event_type, named)
    with target_of(ctx, url, token) as target:
        if event is not None:
            click.echo(_published(target, event))
        else:
            publish_lines(LinePublisher(target, _decode), standard_input())


@contextmanager
def target_of(ctx: click.Context, url: str | None, token: str) -> Iterator[Target]:
    """Lend the server that the URL names, else the configured log."""
    if url is None:
        runtime = load_runtime(ctx)
        log_of(runtime)
        yield LogTarget(runtime)
        return
    with needs("cli"):
        from .remote import RemoteServer
    with RemoteServer(token) as server:
        yield ServerTarget(server, url)


def publish_lines(publisher: LinePublisher, stream: Pipe) -> None:
    """Publish the events of all lines of a stream.

    :raises click.exceptions.Exit: some lines failed.
    """
    try:
        for lines in read_lines(stream):
            publisher.publish(lines)
    except KeyboardInterrupt:
        publisher.summarize()
        raise click.ClickException(
            "interrupted; events that were being sent may be stored, too"
        ) from None
    publisher.summarize()
    if publisher.failed:
        raise click.exceptions.Exit(1)


def _published(target: Target, event: NewEvent) -> int:
    """Return the id of an event that was published."""
    try:
        return target.publish([event]).ids[0]
    except Unpublished as refusal:
        kind = click.ClickException if refusal.is_forbidden else WrongInput
        raise kind(": ".join([str(refusal), *refusal.faults.values()])) from refusal


def _event(event_type: str, fields: dict[str, str]) -> NewEvent:
    raw: dict[str, Any] = {
        name: _json(f"--{name}", fields.pop(name)) for name in ("data", "meta") if name in fields
    }
    # An event without a source of its own gets the one that the log or the server gives.
    event = submission.new_event(event_type, **raw, **fields)
    return event if "source" in fields else msgspec.structs.replace(event, source="")


def _decode(text: bytes) -> NewEvent:
    """Return the event of a line."""
    if text.lstrip().startswith(b"["):
        raise InvalidEvent([Fault("", "Expected an event (an object), got an array")])
    return submission.decode(text, source="")[0]


def _json(option: str, text: str) -> msgspec.Raw:
    """Return the JSON of an option, checked but not decoded, so that numbers keep their digits."""
    try:
        if text == "-":
            content = sys.stdin.buffer.read()
        elif text.startswith("@"):
            with open(text[1:], "rb") as file:
                content = file.read()
        else:
            content = text.encode()
        content.decode()
        return msgspec.json.decode(content, type=msgspec.Raw)
    except OSError as error:
        raise click.BadParameter(
            f"{text[1:]} can't be read ({error.strerror})", param_hint=option
        ) from None
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise click.BadParameter(
            f"{error}; write e.g. '{{\"a\": 1}}'", param_hint=option
        ) from None
