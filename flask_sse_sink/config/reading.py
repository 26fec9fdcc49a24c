"""Plain mappings into settings: types, names and bounds of each setting by itself."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, TypeVar, get_args, get_origin

import msgspec
from msgspec import Struct

from .problems import Problems, join
from .settings import Settings, SinkSettings
from .sink_types import SINK_TYPES, SinkType, type_examples
from .values import Value, show
from .variables import BROKEN, Expanded

# The server's own blueprints have names that begin so.
_OWN_PREFIX = "sse_sink_"
# Paths of the settings whose values are never repeated in a message.
_SECRET = re.compile(
    r"ingest\.tokens|access\.secret|access\.tokens(\[\d+\](\.token)?)?"
    r"|access\.issuers\[\d+\]\.key"
)
_NAME = re.compile(r"[A-Za-z0-9_-]+")
_KINDS = {
    "int": "a whole number",
    "str": "text; put it in quotes",
    "bool": "true or false",
    "array": "a list; write [a, b], or a line with a dash for each",
}

T = TypeVar("T", bound=Struct)


def read_settings(content: object, problems: Problems) -> Settings:
    """Return the settings of a mapping whose variables are expanded.

    Every mistake is added to ``problems``; a setting that is wrong has its default.
    """
    return _Reading(problems).struct(Settings, content, "")


class _Reading:
    """One pass over a configuration."""

    def __init__(self, problems: Problems) -> None:
        self._problems = problems

    def struct(self, kind: type[T], value: object, path: str) -> T:
        """Return a Struct of this kind; a field that is wrong keeps its default."""
        section = self._section(value, path)
        fields = {field.name: field for field in msgspec.structs.fields(kind)}
        for key in section:
            if key not in fields:
                self._problems.add(join(path, key), _unknown(key, list(fields)))
        values: dict[str, Any] = {}
        for name, field in fields.items():
            if section.get(name, BROKEN) is BROKEN:
                continue
            where, item = join(path, name), section[name]
            before = len(self._problems)
            if isinstance(field.type, type) and issubclass(field.type, Struct):
                values[name] = self.struct(field.type, item, where)
            elif get_origin(field.type) is dict:
                values[name] = self._sinks(item, where)
            elif (entry := _struct_in_list(field.type)) is not None:
                values[name] = self._structs(entry, item, where)
            else:
                converted = self._scalar(field.type, item, where)
                if len(self._problems) == before:
                    values[name] = converted
        return kind(**values)

    def _section(self, value: object, path: str) -> Mapping[Any, Any]:
        """Return the value if it is a section, else an empty one."""
        if value is None or value is BROKEN:
            return {}
        if isinstance(value, Mapping):
            return value
        # Text may be a secret that was written in the place of its section.
        shown = "text" if isinstance(value, str) else show(value)
        self._problems.add(path, f"{shown} is not a section; write keys and values under it")
        return {}

    def _structs(self, kind: type[T], value: object, path: str) -> list[T]:
        """Return a list of Structs of this kind; one that is wrong has the kind's defaults."""
        if value is None or value is BROKEN:
            return []
        if not isinstance(value, list):
            shown = "text" if isinstance(value, str) else show(value)
            self._problems.add(path, f"{shown} is not a list; write a line with a dash for each")
            return []
        items = []
        for n, item in enumerate(value):
            where = f"{path}[{n}]"
            if item is None:
                # As a section without settings it could mean more than whoever wrote it meant.
                self._problems.add(where, "is empty; write its settings, or {} for none of them")
            items.append(self.struct(kind, item, where))
        return items

    def _sinks(self, value: object, path: str) -> dict[str, SinkSettings]:
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            self._problems.add(
                path, f"{show(value)} is not a section; write a sink's name under it"
            )
            return {}
        sinks: dict[str, SinkSettings] = {}
        for name, item in value.items():
            where = join(path, name)
            if item is BROKEN:
                continue
            if not isinstance(name, str) or not _NAME.fullmatch(name):
                self._problems.add(where, "is no name for a URL; write letters, digits, - and _")
            elif name.startswith(_OWN_PREFIX):
                self._problems.add(where, f"{_OWN_PREFIX} begins names of our own; choose another")
            elif (sink := self._sink(name, item, where)) is not None:
                sinks[name] = sink
        return sinks

    def _sink(self, name: str, value: object, path: str) -> SinkSettings | None:
        """Return the settings of one sink, None where its type isn't known."""
        section = self._section(value, path)
        sink_type: SinkType[Any] | None = None
        if value is None or isinstance(value, Mapping):
            sink_type = self._sink_type(name, section.get("type"), join(path, "type"))
        if sink_type is None:
            registered = SINK_TYPES.items()
            if len(registered) != 1:
                return None
            # There is only one type that the other settings can be meant for.
            sink_type = registered[0][1]
        rest = {key: item for key, item in section.items() if key != "type"}
        settings: SinkSettings = self.struct(sink_type.settings, rest, path)
        return msgspec.structs.replace(settings, type=sink_type.name)

    def _sink_type(self, name: str, written: object, path: str) -> SinkType[Any] | None:
        """Return the type that a sink has, None where none is written or it isn't known."""
        if written is BROKEN:
            return None
        if written is None:
            if name not in SINK_TYPES:
                self._problems.add(path, f"is missing; write {type_examples()}")
            return SINK_TYPES.get(name)
        if not isinstance(written, str):
            self._problems.add(path, f"{show(written)} is not {_KINDS['str']}")
            return None
        if written not in SINK_TYPES:
            close = _closest(written, SINK_TYPES)
            cure = f"did you mean {close}?" if close else f"write {type_examples()}"
            self._problems.add(path, f"{show(written)} is not allowed; {cure}")
        return SINK_TYPES.get(written)

    def _scalar(self, kind: Any, value: object, path: str) -> Any:
        """Return a value that is no section, converted to this type."""
        lax = isinstance(value, Expanded)
        if isinstance(value, list):
            value = [item for item in value if item is not BROKEN]
        try:
            return msgspec.convert(
                str(value) if lax else value, kind, strict=not lax, dec_hook=_read_value
            )
        except msgspec.ValidationError as error:
            what, _, inner = str(error).partition(" - at `$")
            inner = inner.rstrip("`")
            shown = "what stands here" if _SECRET.fullmatch(path) else show(value)
            self._problems.add(path + inner, _reworded(what, shown, whole=not inner))
            return None


def _struct_in_list(kind: Any) -> type[Struct] | None:
    """Return the Struct that a type is a list of, None for every other type."""
    if get_origin(kind) is Annotated:
        kind = get_args(kind)[0]
    if get_origin(kind) is not list:
        return None
    (item,) = get_args(kind)
    return item if isinstance(item, type) and issubclass(item, Struct) else None


def _reworded(what: str, shown: str, *, whole: bool) -> str:
    """Return an error of msgspec in the words of this package.

    ``shown`` is the value as messages show it; ``whole`` is false for an error about a part of it.
    """
    if "matching regex" in what or "length >= 8" in what:
        return "is not a token; write 8 or more visible ASCII characters"
    expected = re.match(r"Expected `(\w+)[^`]*`, got", what)
    if expected:
        subject = shown + " " if whole else ""
        return f"{subject}is not {_KINDS.get(expected[1], expected[1])}"
    if what.startswith(("Expected", "Invalid")):
        return f"{shown} is not allowed: {what[0].lower()}{what[1:]}"
    return what


def _read_value(kind: type, value: object) -> Any:
    if not issubclass(kind, Value):
        raise NotImplementedError(f"{kind} can't be read")
    return kind.read(value)


def _unknown(key: object, known: list[str]) -> str:
    close = _closest(str(key), known)
    cure = f"did you mean {close}?" if close else f"the settings here are {', '.join(known)}"
    return f"is not a setting; {cure}"


def _closest(text: str, known: Iterable[str]) -> str:
    """Return the known word that is most like the text, or "" where none is."""
    return next(iter(difflib.get_close_matches(text, list(known), n=1)), "")
