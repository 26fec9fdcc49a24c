"""Grants as the configuration has them, and the templates in them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Annotated, Any, Self

from msgspec import Meta, Struct

from ..filters import ENTITY_ID, EVENT_TYPE, SOURCE, parse
from ..filters.exact import parse_entity_ids, parse_sources
from .values import Value, default, show

_PLACEHOLDER = re.compile(r"\{([^{}]+)\}")


def claims_of(text: str) -> list[str]:
    """Return the names of the claims that a template names, none for text without braces."""
    return _PLACEHOLDER.findall(text)


def fill(text: str, values: Sequence[str]) -> str:
    """Return the template with its placeholders replaced by these values, in their order.

    Braces in a value mean nothing: each placeholder of the template is replaced once.
    """
    left = iter(values)
    return _PLACEHOLDER.sub(lambda _: next(left), text)


class Texts(Value):
    """One text or a list of them. ``texts`` is empty where the configuration has none."""

    def __init__(self, texts: Sequence[str] = ()) -> None:
        self.texts = tuple(texts)

    @classmethod
    def read(cls, value: object) -> Self:
        texts = [value] if isinstance(value, str) else value
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise ValueError(f"{show(value)} is not text; write it in quotes, or a list of these")
        if not texts:
            raise ValueError("is an empty list; leave the setting out to grant any")
        for text in texts:
            if not text:
                raise ValueError("is empty; write a value, or leave the setting out to grant any")
            if set(_PLACEHOLDER.sub("", text)) & set("{}"):
                raise ValueError(f"{show(text)} has a lone brace; write e.g. {{sub}}")
        cls.check([_PLACEHOLDER.sub("x", text) for text in texts])
        return cls(texts)

    @classmethod
    def check(cls, texts: list[str]) -> None:
        """Check the texts, in which the placeholders are filled.

        :raises ValueError: one of them can't be a value of this setting.
        """

    @staticmethod
    def schema() -> dict[str, Any]:
        one = {"type": "string", "minLength": 1}
        return {"anyOf": [one, {"type": "array", "items": one, "minItems": 1}]}


class EventTypes(Texts):
    """Patterns of event types."""

    @classmethod
    def check(cls, texts: list[str]) -> None:
        parse(texts)


class EntityIds(Texts):
    """Ids of entities."""

    @classmethod
    def check(cls, texts: list[str]) -> None:
        parse_entity_ids(texts)


class SourceNames(Texts):
    """Names of sources."""

    @classmethod
    def check(cls, texts: list[str]) -> None:
        parse_sources(texts)


class PublishGrantSettings(Struct, frozen=True, kw_only=True):
    """Events that somebody may publish; a setting that is left out grants any."""

    event_type: Annotated[EventTypes, Meta(description="patterns of event types")] = default(
        EventTypes()
    )
    entity_id: Annotated[EntityIds, Meta(description="ids of entities, to the letter")] = default(
        EntityIds()
    )
    source: Annotated[SourceNames, Meta(description="names of sources, to the letter")] = default(
        SourceNames()
    )

    def criteria(self) -> list[tuple[str, tuple[str, ...]]]:
        """Return the criteria that are set: name and values of each."""
        texts = ((EVENT_TYPE, self.event_type), (ENTITY_ID, self.entity_id), (SOURCE, self.source))
        return [(name, value.texts) for name, value in texts if value.texts]


class ReadGrantSettings(PublishGrantSettings, frozen=True, kw_only=True):
    """Events that somebody may read; a setting that is left out grants any."""

    sink: Annotated[Texts, Meta(description="names of sinks")] = default(Texts())
