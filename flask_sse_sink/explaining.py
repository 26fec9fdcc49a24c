"""Says which sinks an event would reach, and why not the others. Reads the configuration alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from .access.principal import Principal
from .access.selections import selection_of
from .access.templates import ConfiguredGrants
from .config.grants import PublishGrantSettings, ReadGrantSettings, claims_of
from .config.settings import Settings
from .config.sink_types import SINK_TYPES
from .event import Event, Source
from .filters.patterns import TypePatterns, parse_patterns

_EVERYBODY = "everybody who reaches the port"


class Explanation(NamedTuple):
    """What becomes of an event in one sink.

    ``reached`` says whether the sink lets it through, and ``patterns`` by which patterns of
    ``match``. ``readers`` are those who get it there. ``granted`` says whether the one token that
    was asked about gets it, None where none was. ``why`` tells what stands against it, "" if
    nothing does.
    """

    sink: str
    type: str
    url: str
    reached: bool
    match: list[str]
    patterns: list[str]
    access: str
    readers: list[str]
    granted: bool | None
    why: str
    kept: list[str]


class Reader(NamedTuple):
    """Whoever has the token that is asked about: a principal, or why the token is refused."""

    principal: Principal | None
    refusal: str = ""


#: Who else may read of sinks that stream, as the app itself decides.
APP_USERS = "users of the app, as its authorizer decides"


def explain(
    settings: Settings, event: Event, reader: Reader | None = None, app_decides: bool = False
) -> list[Explanation]:
    """Return for each sink what becomes of the event there, if asked so for one reader.

    ``app_decides`` says whether the Flask app has an authorizer.
    """
    explanations = [_explained(settings, name, event, app_decides) for name in settings.sink]
    if reader is None:
        return explanations
    return [_for_reader(each, event, reader) for each in explanations]


def publishers(settings: Settings, event: Event, names_source: bool = True) -> list[str]:
    """Return who may publish the event.

    With ``names_source`` false it is published without a source, which is then the one that the
    grants of whoever publishes name, if that is one alone.
    """
    if settings.ingest.auth == "none":
        return [_EVERYBODY]
    access = settings.access
    names = ["those with one of ingest.tokens"] if settings.ingest.tokens else []
    for token in access.tokens:
        grants = ConfiguredGrants((), token.publish).for_claims({})
        own = None if names_source else grants.own_source
        published = event if own is None else _of_source(event, own)
        if grants.may_publish(published):
            names.append(f"the token {token.name}" + ("" if own is None else f" (as {own})"))
    for issuer in access.issuers:
        names += _of_issuer(issuer.issuer, issuer.publish, event)
    return names


def _of_source(event: Event, name: str) -> Event:
    return msgspec.structs.replace(event, source=Source(event.source.id, name))


def _explained(settings: Settings, name: str, event: Event, app_decides: bool) -> Explanation:
    sink = settings.sink[name]
    types = sink.match.filter.types
    patterns = types.values()
    matching = [p for p in patterns if parse_patterns([p]).matches_type(event.event_type)]
    reached = sink.match.filter.matches(event)
    route = SINK_TYPES[sink.type].urls(name, sink)[0]
    readers: list[str] = []
    why = "" if reached else _not_matched(types, event.event_type)
    if reached and sink.access == "none":
        readers = [_EVERYBODY]
    elif reached:
        readers = list(_readers(settings, name, event))
        if app_decides and route.stream:
            readers.append(APP_USERS)
        if not readers:
            why = "access is token, and no token or issuer of the configuration has a grant for it"
    return Explanation(
        name,
        sink.type,
        f"{route.method} {route.url}",
        reached,
        patterns,
        matching,
        sink.access,
        readers,
        None,
        why,
        list(sink.about_events(event.event_type)),
    )


def _for_reader(explanation: Explanation, event: Event, reader: Reader) -> Explanation:
    """Return the explanation for one reader."""
    if not explanation.reached or explanation.access == "none":
        return explanation._replace(granted=explanation.reached or None)
    principal = reader.principal
    why = f"the token is refused: {reader.refusal}"
    if principal is not None:
        granted = principal.grants.readable(explanation.sink)
        if granted.matches(event):
            return explanation._replace(granted=True, why="", readers=[principal.name])
        has = "it has none"
        if granted.selections:
            has = f"its grants for this sink are {granted.query()}"
        why = f"no grant of {principal.name} covers the event; {has}"
    return explanation._replace(granted=False, why=why, readers=[])


def _not_matched(types: TypePatterns, event_type: str) -> str:
    """Return why no pattern is for the type."""
    why = f"no pattern of match is for {event_type}"
    if f"{event_type}." in types.prefixes:
        return f"{why}: {event_type}.* is for what begins with {event_type}. and not for it alone"
    alike = [
        pattern
        for pattern in types.values()
        if parse_patterns([pattern.lower()]).matches_type(event_type.lower())
    ]
    if alike:
        return f"{why}: {alike[0]} is written differently, and case counts"
    return why


def _readers(settings: Settings, sink: str, event: Event) -> Iterator[str]:
    """Yield who of the configuration gets the event from a sink with ``access: token``."""
    access = settings.access
    for token in access.tokens:
        grants = ConfiguredGrants(token.subscribe, ()).for_claims({})
        if grants.readable(sink).matches(event):
            yield f"the token {token.name}"
    for issuer in access.issuers:
        yield from _of_issuer(issuer.issuer, _of_sink(issuer.subscribe, sink), event)


def _of_sink(grants: Iterable[ReadGrantSettings], sink: str) -> list[ReadGrantSettings]:
    return [grant for grant in grants if not grant.sink.texts or sink in grant.sink.texts]


def _of_issuer(name: str, grants: Sequence[PublishGrantSettings], event: Event) -> list[str]:
    """Return whose tokens of an issuer cover the event, as far as the configuration tells."""
    conditions = [
        condition for grant in grants if (condition := _condition(grant, event)) is not None
    ]
    who = f"tokens of {name}"
    return [f"{who} {condition}".rstrip() for condition in dict.fromkeys(conditions)]


def _condition(grant: PublishGrantSettings, event: Event) -> str | None:
    """Return which tokens a grant makes cover the event, "" for all, None for none."""
    conditions = []
    values = {
        "event_type": event.event_type,
        "entity_id": event.entity_id,
        "source": event.source.name,
    }
    for name, texts in grant.criteria():
        fixed = [text for text in texts if not claims_of(text)]
        if fixed and selection_of([(name, fixed)]).matches(event):
            continue
        templates = [text for text in texts if claims_of(text)]
        if not templates or values[name] is None:
            return None
        conditions.append(f"whose {' or '.join(templates)} is {values[name]}")
    return " and ".join(conditions)
