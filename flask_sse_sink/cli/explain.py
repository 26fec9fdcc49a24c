"""``flask sse explain``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import click
from flask.cli import with_appcontext

from ..access.app import AppAuthorizer
from ..access.credentials import HEADER_ONLY, Credentials
from ..access.from_settings import from_settings
from ..access.refusal import Refusal
from ..access.revocations import RevokedSubjects
from ..config.values import in_words
from ..event import Event, Source
from ..exceptions import LogUnavailable
from ..explaining import Explanation, Reader, publishers
from ..explaining import explain as explain_event
from ..log.protocol import iso, now_us
from ..runtime import Runtime
from ..submission import new_event
from .options import current_runtime
from .server_options import token_option

_PAGE = 1000


@click.command()
@click.argument("event_type", metavar="TYPE")
@click.option("--entity-id", metavar="ID", help="The event is about this entity.")
@click.option("--source", metavar="NAME", help="Its source; `default` by default.")
@token_option
@click.option("--json", "as_json", is_flag=True, help="One JSON object in place of text.")
@with_appcontext
def explain(
    event_type: str, entity_id: str | None, source: str | None, token: str, as_json: bool
) -> None:
    """Say which sinks an event of TYPE would reach, who gets it there, and why not the others.

    With a token, say whether whoever has it gets the event. Reads the configuration; the server
    needn't run. The exit status is 1 if nobody, or not the token, gets it anywhere.
    """
    runtime = current_runtime()
    event = _event(event_type, entity_id, source)
    if "*" in event_type:
        click.echo("# TYPE is one event's type: `*` in it is taken to the letter", err=True)
    reader = _reader(runtime, token) if token else None
    app = runtime.access.authorizer
    explanations = explain_event(
        runtime.settings, event, reader, app_decides=isinstance(app, AppAuthorizer) and app.is_set
    )
    found = {
        "event": {
            "event_type": event.event_type,
            "entity_id": event.entity_id,
            "source": event.source.name,
        },
        "token": None if reader is None else _as_json(reader),
        "sinks": [each._asdict() for each in explanations],
        "publishers": publishers(runtime.settings, event, source is not None),
        "kept": _kept(runtime),
    }
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        for line in _lines(found, explanations):
            click.echo(line)
    if not any(each.readers and each.granted is not False for each in explanations):
        raise click.exceptions.Exit(1)


def _event(event_type: str, entity_id: str | None, source: str | None) -> Event:
    """Return the event as the log would store it.

    :raises InvalidEvent: a value can't be one of its kind.
    """
    submitted = new_event(event_type, entity_id=entity_id, source=source)
    return submitted.as_event(0, iso(now_us()), Source(0, submitted.source))


def _reader(runtime: Runtime, token: str) -> Reader:
    """Return who has a token, or why it is refused."""
    access = from_settings(runtime.settings)
    try:
        principal = access.authenticate(Credentials((f"Bearer {token}",)), HEADER_ONLY)
    except Refusal as refusal:
        return Reader(None, f"{refusal} ({refusal.reason})")
    try:
        if _revoked(runtime).covers(principal.identity, principal.issued_at):
            return Reader(None, "its subject was revoked (revoked)")
    except LogUnavailable as error:
        click.echo(f"# whether it was revoked isn't known: {error}", err=True)
    finally:
        runtime.log.close()
    return Reader(principal)


def _as_json(reader: Reader) -> dict[str, str | None]:
    name = None if reader.principal is None else reader.principal.name
    return {"name": name, "refused": reader.refusal or None}


def _revoked(runtime: Runtime) -> RevokedSubjects:
    revoked = RevokedSubjects()
    position = 0
    while page := runtime.log.revocations.changes(position, _PAGE):
        revoked.apply(page)
        position = page[-1].position
    return revoked


def _kept(runtime: Runtime) -> str:
    """Return for how long the log keeps the event."""
    database = runtime.settings.database
    bounds = [f"for {in_words(database.retention)}"] if database.retention else []
    if database.retention_count:
        bounds.append(f"among the newest {database.retention_count}")
    return " and ".join(bounds) or "for ever"


def _lines(found: dict[str, Any], explanations: list[Explanation]) -> Iterator[str]:
    event = found["event"]
    about = f"about {event['entity_id']}" if event["entity_id"] else "about no entity"
    yield f"{event['event_type']}, of the source {event['source']}, {about}"
    if found["token"] is not None:
        yield f"  the token is         {found['token']['name'] or 'refused'}"
    yield f"  may be published by  {_list(found['publishers'])}"
    yield f"  is kept              {found['kept']}"
    for each in explanations:
        yield ""
        yield f"{each.sink}  ({each.type}: {each.url})"
        if not each.reached:
            yield f"  not reached  {each.why}; match is {', '.join(each.match)}"
            continue
        yield f"  reached      by {', '.join(each.patterns)} of match"
        yield f"  access       {each.access}: {_list(each.readers)}"
        if each.why:
            yield f"               {each.why}"
        for line in each.kept:
            yield f"  later        {line}"


def _list(names: list[str]) -> str:
    return ", ".join(names) or "nobody"
