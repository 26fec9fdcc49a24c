"""The registry of sink types: what the package must know of a type to load and list its sinks.

A type registers itself in :data:`SINK_TYPES` when its module is imported. Whoever checks, lists
or creates sinks asks the registry, and so knows no type by name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from ..registry import Registry
from .settings import SinkSettings

S = TypeVar("S", bound=SinkSettings)


class Route(NamedTuple):
    """One route of a sink.

    ``about`` says in a few words what the route is, as lists of routes show it. ``stream`` says
    whether it answers ``GET`` with a Server-Sent Events stream.
    """

    method: str
    url: str
    about: str
    stream: bool = False


@dataclass(frozen=True)
class SinkType(Generic[S]):
    """A type of sinks.

    ``name`` is what the configuration writes as ``type``, and ``settings`` the Struct that holds
    the settings of one sink. ``urls(name, settings)`` returns the routes of a sink.
    ``create(name, settings, runtime)`` returns the sink itself for one app; it must start nothing.
    """

    name: str
    settings: type[S]
    urls: Callable[[str, S], Sequence[Route]]
    create: Callable[[str, S, Any], Any]


#: Every type of sinks, by its name.
SINK_TYPES: Registry[SinkType[Any]] = Registry("type of sinks")


def register(sink_type: SinkType[Any]) -> None:
    """Add a type to :data:`SINK_TYPES`.

    :raises ValueError: a type of this name is registered already.
    """
    SINK_TYPES.register(sink_type.name, sink_type)


def routes(sinks: Mapping[str, SinkSettings]) -> list[tuple[str, Route]]:
    """Return the routes of all these sinks, each with its sink's name."""
    return [
        (name, route)
        for name, settings in sinks.items()
        for route in SINK_TYPES[settings.type].urls(name, settings)
    ]


def type_examples(quote: str = '"') -> str:
    """Return how to write a sink's type, for an error message: ``"type: a" or "type: b"``."""
    return " or ".join(f"{quote}type: {name}{quote}" for name in SINK_TYPES)
