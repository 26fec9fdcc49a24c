"""``flask sse …``: check the configuration, publish, tail a stream, look into the log."""

from __future__ import annotations

import collections
import itertools
import json
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import click
import msgspec
from flask import current_app
from flask.cli import AppGroup, ScriptInfo, with_appcontext

from .. import event as envelope
from ..config import settings
from ..config.loading import from_mapping
from ..config.settings import stream_url
from ..event import new_event
from ..exceptions import ConfigError, SSESinkError
from ..extension import Engine, engine_of
from ..filters import Filter, parse_query
from ..log import EventLog, copying, open_log
from ..stream import replay
from ..stream.replay import EARLIEST, PAGE, ResumePosition

_NEWEST = 10

sse = AppGroup("sse", help="Stream events over Server-Sent Events.")


def _engine() -> Engine:
    try:
        return engine_of(current_app)
    except RuntimeError as error:
        raise click.ClickException(str(error)) from error


@sse.command(with_appcontext=False)
@click.pass_context
def check(ctx: click.Context) -> None:
    """Check the configuration, and print the endpoints."""
    try:
        app = ctx.ensure_object(ScriptInfo).load_app()
    except (ConfigError, SSESinkError) as error:
        raise click.ClickException(str(error)) from None
    except SystemExit:
        # wsgi.py has said what is wrong already.
        raise click.exceptions.Exit(1) from None
    found = engine_of(app).settings
    click.echo("The configuration is right.")
    click.echo(f"  POST {found.ingest.path}")
    for name, sink in found.sink.items():
        patterns = ", ".join(sink.match.filter.patterns())
        click.echo(f"  GET  {stream_url(name, sink)}  lets through {patterns}")
    if found.ingest.auth != "none" and not found.ingest.tokens:
        click.echo("Nobody may publish over HTTP yet: set ingest.tokens.", err=True)


@sse.command(with_appcontext=False)
def schema() -> None:
    """Print the JSON Schema of the configuration file."""
    click.echo(json.dumps(settings.schema(), indent=2))


@sse.command()
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
    try:
        result = _engine().append([new_event(event_type, **raw, **fields)])
    except SSESinkError as error:
        raise click.ClickException(str(error)) from error
    click.echo(result.ids[0])


def _json(option: str, text: str) -> Any:
    try:
        # Checked and kept as it is: numbers keep their digits.
        return msgspec.json.decode(text.encode(), type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise click.BadParameter(
            f"{error}; write e.g. '{{\"a\": 1}}'", param_hint=option
        ) from None


def _since(ctx: click.Context, param: click.Parameter, value: str | None) -> ResumePosition | None:
    try:
        return replay.parse(None, value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


_SINCE = click.option(
    "--since",
    metavar="ID",
    callback=_since,
    help="Begin after the event with this id; `earliest` is all that is kept.",
)
_EVENT_TYPE = click.option(
    "--event-type", multiple=True, metavar="PATTERN", help="Only these types; may be repeated."
)


@sse.command()
@click.option("-n", "count", type=click.IntRange(1), help=f"So many; {_NEWEST} by default.")
@_SINCE
@_EVENT_TYPE
@with_appcontext
def events(count: int | None, since: ResumePosition | None, event_type: tuple[str, ...]) -> None:
    """Print the newest events of the log, or those since ID, one line of JSON each."""
    log = _engine().log
    try:
        filter = parse_query(event_type)
        found: Iterator[tuple[int, bytes]]
        if since is not None:
            found = itertools.islice(_stored(log, since, filter), count)
        else:
            newest = count or _NEWEST
            first = max(0, log.head() - newest) if filter.everything else 0
            begin = ResumePosition(first, earliest=True)
            found = iter(collections.deque(_stored(log, begin, filter), newest))
        for _, text in found:
            click.echo(text)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--event-type") from None
    except SSESinkError as error:
        raise click.ClickException(str(error)) from error
    finally:
        log.close()


def _stored(log: EventLog, since: ResumePosition, filter: Filter) -> Iterator[tuple[int, bytes]]:
    """Yield ids and envelopes, and say on standard error what is no longer kept."""
    after, head = since.id, log.head()
    if after > head:
        raise click.BadParameter(f"the newest event has id {head}", param_hint="--since")
    while after < head:
        page = log.replay(after, PAGE, filter, head)
        if page.gone > after and not since.earliest:
            click.echo(f"# events {after + 1} to {page.gone} are no longer kept", err=True)
        yield from page.envelopes
        after = page.through


@sse.command()
@click.argument("sink")
@_EVENT_TYPE
@_SINCE
@click.option("--json", "as_json", is_flag=True, help="Whole envelopes, one a line.")
@click.option("--url", metavar="URL", help="The server's address; by default as configured.")
@click.option("-n", "count", type=click.IntRange(1), help="Stop after so many events.")
@with_appcontext
def tail(
    sink: str,
    event_type: tuple[str, ...],
    since: ResumePosition | None,
    as_json: bool,
    url: str | None,
    count: int | None,
) -> None:
    """Print the events of SINK as they come, from the running server; reconnects by itself.

    With `replay` on the sink, a reconnect misses nothing, and `--since` begins in the past.
    """
    try:
        from ld_eventsource import SSEClient
        from ld_eventsource.actions import Event, Fault
        from ld_eventsource.config import ConnectStrategy, ErrorStrategy
        from ld_eventsource.errors import HTTPStatusError
    except ImportError as error:
        raise click.ClickException(
            "tail needs one more library: pip install 'flask-sse-sink[cli]'"
        ) from error
    found = _engine().settings
    if sink not in found.sink:
        raise click.BadParameter(f"no such sink; there are {', '.join(found.sink)}")
    server = found.server
    base = url or f"http://{server.host}:{server.port}"
    address = base.rstrip("/") + stream_url(sink, found.sink[sink])
    query = [("event_type", pattern) for pattern in event_type]
    if since is not None:
        if not found.sink[sink].replay.on:
            raise click.BadParameter(
                f"{sink} doesn't replay; set sink.{sink}.replay: true", param_hint="--since"
            )
        query.append(("last_event_id", EARLIEST if since.earliest else str(since.id)))
    if query:
        address += "?" + urlencode(query)
    client = SSEClient(
        connect=ConnectStrategy.http(address),
        error_strategy=ErrorStrategy.always_continue(),
        initial_retry_delay=1,
    )
    seen = 0
    try:
        for item in client.all:
            if isinstance(item, Fault):
                fault = item.error
                if isinstance(fault, HTTPStatusError) and 400 <= fault.status < 500:
                    raise click.ClickException(f"{address} answered {fault.status}")
                click.echo(f"# {fault or 'the stream ended'}; connecting again", err=True)
            elif isinstance(item, Event) and item.event == "message":
                click.echo(item.data if as_json else _line(item.data))
                seen += 1
                if seen == count:
                    return
            elif isinstance(item, Event) and item.event == "info":
                click.echo(f"# {item.data}", err=True)
    except KeyboardInterrupt:
        pass
    finally:
        client.close()


def _line(text: str) -> str:
    try:
        event = envelope.stored(text.encode())
    except (msgspec.MsgspecError, RecursionError, ValueError):
        # Of a server that has another envelope.
        return text
    # As it came: a number may be one that Python has no value for.
    data = bytes(event.data).decode()
    return f"{event.id:>8}  {event.created_at}  {event.event_type:<20}  {data}"


def _log(ctx: click.Context, param: click.Parameter, url: str) -> EventLog:
    try:
        found = from_mapping(
            {"database": {"url": url}, "sink": {"sse": None}}, "", Path.cwd()
        ).database
        return open_log(found)
    except ConfigError as error:
        raise click.BadParameter(error.problems[0].removeprefix("database.url: ")) from None


@sse.command(with_appcontext=False)
@click.option("--from", "source", required=True, metavar="URL", callback=_log)
@click.option("--to", "target", required=True, metavar="URL", callback=_log)
def copy(source: EventLog, target: EventLog) -> None:
    """Copy a log into an empty one, with its ids, order and deduplication.

    What was interrupted, or stored since, is copied when it is started again. Let producers pause
    for the last time, and start the server with the new database.url.
    """
    try:
        source.inspect()
        target.inspect()
        begin = target.head()
        with click.progressbar(
            length=max(0, source.head() - begin), label="Copying", file=sys.stderr
        ) as bar:
            for done, head in copying.copy(source, target):
                bar.length = head - begin
                bar.update(done - begin - bar.pos)
        click.echo(f"Copied up to event {target.head()}.")
    except SSESinkError as error:
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt:
        raise click.ClickException("interrupted; start it again to go on") from None
    finally:
        source.close()
        target.close()


@sse.command()
@click.option("--rate", default=2.0, show_default=True, type=click.FloatRange(0.01, 1000))
@click.option("-n", "count", type=click.IntRange(1), help="Stop after so many events.")
@with_appcontext
def demo(rate: float, count: int | None) -> None:
    """Publish believable sample events, so many a second, until stopped with Ctrl-C."""
    engine = _engine()
    click.echo("Publishing; stop with Ctrl-C.", err=True)
    try:
        for event_type, entity_id, data in itertools.islice(_samples(), count):
            event = new_event(event_type, data, entity_id=entity_id, source="demo")
            id = engine.append([event]).ids[0]
            click.echo(f"{id:>8}  {event_type:<20}  {msgspec.json.encode(data).decode()}")
            time.sleep(random.expovariate(rate))
    except KeyboardInterrupt:
        click.echo("")
    except SSESinkError as error:
        raise click.ClickException(str(error)) from error
    finally:
        engine.close()


def _samples() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Yield event type, entity id and data of what could happen in a small shop."""
    temperature = 20.0
    for number in itertools.count(1):
        user = f"user_{random.randint(1, 40)}"
        temperature += random.uniform(-0.3, 0.3)
        address = f"203.0.113.{random.randint(1, 254)}"
        samples: list[tuple[str, str, dict[str, Any]]] = [
            ("user.login", user, {"ip": address}),
            ("user.logout", user, {"minutes": random.randint(1, 90)}),
            ("mail.received", user, {"subject": "Re: your order", "bytes": 2048 + number}),
            (
                "payment.settled",
                f"order_{1000 + number}",
                {"amount": round(random.uniform(3, 250), 2), "currency": "EUR"},
            ),
            ("sensor.temperature", "sensor_7", {"celsius": round(temperature, 1)}),
        ]
        yield random.choice(samples)
