"""YAML or a mapping into checked settings: every mistake at once, each with its cure."""

from __future__ import annotations

import difflib
import itertools
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_origin

import msgspec
import yaml
from msgspec import Struct

from ..exceptions import ConfigError
from ..log.redis.url import SCHEMES as REDIS_SCHEMES
from ..log.redis.url import fault as redis_fault
from .settings import DatabaseSettings, Settings, SinkSettings, Value, show, stream_url

DEFAULT_FILE = "config.yaml"
FILE_VARIABLE = "SSE_SINK_CONFIG"

_MAX_DEPTH = 20
# Values in a configuration, and in what its aliases stand for. A few aliases of aliases can stand
# for billions of values.
_MAX_VALUES = 20_000
_MAX_BYTES = 2**18
_MAX_DIGITS = 40
# What a server of ours registers itself.
_OWN_PREFIX = "sse_sink_"
# Settings whose values are never repeated in a message.
_SECRET = ("ingest.tokens",)
_NAME = re.compile(r"[A-Za-z0-9_-]+")
_VARIABLE = re.compile(
    r"\$\$"
    r"|\$\{(?P<braced>[A-Za-z_]\w*)(?::-(?P<default>[^}]*))?\}"
    r"|\$(?P<bare>[A-Za-z_]\w*)"
    r"|\$\{"
)
_KINDS = {
    "int": "a whole number",
    "str": "text; put it in quotes",
    "bool": "true or false",
    "array": "a list; write [a, b], or a line with a dash for each",
}

# Stands for a value whose variable is missing: that was said already.
_BROKEN: Any = object()

T = TypeVar("T", bound=Struct)


def default_file() -> Path:
    """Return the file that the environment names, else ``config.yaml`` in the working folder."""
    return Path(os.environ.get(FILE_VARIABLE) or DEFAULT_FILE)


_held: dict[Path, Settings] = {}


def hold(path: str | os.PathLike[str], settings: Settings | None) -> None:
    """Let :func:`load` return these settings for the file, here and in processes forked from here.

    gunicorn's master does so: a worker that starts while somebody edits the file has what the
    master has read, and not the half of a change. With ``None``, the file is read again.
    """
    if settings is None:
        _held.pop(Path(path).absolute(), None)
    else:
        _held[Path(path).absolute()] = settings


def held(path: str | os.PathLike[str]) -> Settings | None:
    """Return the settings that are held for the file, None where :func:`load` would read it."""
    return _held.get(Path(path).absolute())


def load(path: str | os.PathLike[str]) -> Settings:
    """Return the settings that are held for a YAML file, else those that it holds.

    :raises ConfigError: it can't be read, isn't YAML, or holds mistakes: all of them at once.
    """
    return held(path) or read(path)


def read(path: str | os.PathLike[str]) -> Settings:
    """Return the settings that a YAML file holds.

    :raises ConfigError: it can't be read, isn't YAML, or holds mistakes: all of them at once.
    """
    path = Path(path)
    try:
        content = yaml.load(_text(path), Loader=_Loader)
    except OSError as error:
        raise ConfigError(
            f"{path}: can't be read ({error.strerror}); write one, or name it in {FILE_VARIABLE}"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8") from error
    except RecursionError as error:
        raise ConfigError(
            f"{path}: not YAML: is nested too deeply, or holds itself; write it out"
        ) from error
    except (
        yaml.YAMLError,
        # PyYAML lets these out where a tag doesn't fit its value.
        *(ArithmeticError, AttributeError, LookupError, TypeError, ValueError),
    ) as error:
        raise ConfigError(f"{path}: not YAML: {_what_is_wrong(error)}") from error
    return from_mapping({} if content is None else content, str(path), path.absolute().parent)


def from_mapping(content: object, origin: str, base: Path) -> Settings:
    """Return the settings that a mapping holds.

    ``origin`` is the name that errors give it; ``base`` is what a relative path is relative to.

    :raises ConfigError: it holds mistakes: all of them at once.
    """
    reading = _Reading(origin)
    settings = reading.struct(Settings, reading.expanded(content, ""), "")
    reading.cross_check(settings)
    if reading.problems:
        raise ConfigError(reading.problems)
    url = settings.database.url
    if url.startswith("sqlite:///"):
        url = f"sqlite:///{base / url.removeprefix('sqlite:///')}"
    database = msgspec.structs.replace(settings.database, url=url)
    return msgspec.structs.replace(settings, database=database)


def _text(path: Path) -> str:
    with path.open("rb") as file:
        raw = file.read(_MAX_BYTES + 1)
    if len(raw) > _MAX_BYTES:
        raise ConfigError(f"{path}: holds more than {_MAX_BYTES} bytes; is it the right file?")
    return raw.decode()


def _what_is_wrong(error: Exception) -> str:
    """Return what YAML's reader says and where, without the line, which may hold a secret."""
    if isinstance(error, yaml.MarkedYAMLError):
        what = ", ".join(part for part in (error.context, error.problem) if part)
        mark = error.problem_mark or error.context_mark
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        return " ".join(f"{what}{where}".split())
    if isinstance(error, yaml.reader.ReaderError):
        return f"a character that YAML doesn't allow at position {error.position}"
    return "a tag doesn't fit its value"


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, which also refuses a key that stands twice, and bounds its own work."""

    _merged = 0

    def compose_mapping_node(self, anchor: Any) -> yaml.MappingNode:
        node: yaml.MappingNode = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode) or key.value == "<<":
                continue
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key.value!r} stands twice; keep one of them", key.start_mark
                )
            seen.add(key.value)
        return node

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        # What is merged is copied, and may itself hold what was merged, again and again.
        for key, value in node.value:
            if key.tag != "tag:yaml.org,2002:merge":
                continue
            for part in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                if isinstance(part, yaml.MappingNode):
                    self.flatten_mapping(part)
                    self._merged += len(part.value)
                if self._merged > _MAX_VALUES:
                    raise yaml.constructor.ConstructorError(
                        None, None, "merges too many values; write them out", key.start_mark
                    )
        super().flatten_mapping(node)

    def construct_number(self, node: yaml.ScalarNode) -> Any:
        """Return an int or float; a long one costs the square of its length."""
        if len(node.value) > _MAX_DIGITS:
            raise yaml.constructor.ConstructorError(
                None, None, "a number of too many digits", node.start_mark
            )
        if node.tag.endswith(":int"):
            return self.construct_yaml_int(node)
        return self.construct_yaml_float(node)


for _tag in ("int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _Loader.construct_number)


class _Expanded(str):
    """Text in which a variable was put: it may stand for a number or a truth value."""


class _Reading:
    """One pass over one configuration; collects its mistakes in ``problems``."""

    def __init__(self, origin: str) -> None:
        self.origin = origin
        self.problems: list[str] = []
        self._values = 0

    def wrong(self, path: str, what: str) -> None:
        self.problems.append(": ".join(part for part in (self.origin, path, what) if part))

    def expanded(self, value: Any, path: str, depth: int = 0) -> Any:
        """Return the value with the variables in its strings replaced."""
        self._values += 1
        if self._values > _MAX_VALUES:
            if self._values == _MAX_VALUES + 1:
                self.wrong(path[:80], f"is beyond the {_MAX_VALUES} values that may be set")
            return _BROKEN
        if depth > _MAX_DEPTH:
            self.wrong(path[:80], "is nested too deeply, or holds itself; write it out")
            return _BROKEN
        if isinstance(value, Mapping):
            return {
                key: self.expanded(item, _join(path, key), depth + 1)
                for key, item in itertools.islice(value.items(), _MAX_VALUES + 1)
            }
        if isinstance(value, (list, tuple)):
            return [self.expanded(item, f"{path}[{n}]", depth + 1) for n, item in enumerate(value)]
        if isinstance(value, str):
            before = len(self.problems)
            if "$" in value:
                value = _Expanded(_VARIABLE.sub(lambda found: self._variable(found, path), value))
            if not value.isprintable():
                self.wrong(path, "holds a control character; write plain text")
            return value if len(self.problems) == before else _BROKEN
        return value

    def _variable(self, found: re.Match[str], path: str) -> str:
        if found[0] == "$$":
            return "$"
        name, default = found["braced"] or found["bare"], found["default"]
        if name is None:
            self.wrong(path, "a lone ${; write ${VAR}, ${VAR:-default}, or $$ for a dollar sign")
            return ""
        value = os.environ.get(name)
        if default is not None:
            return value or default
        if value is None:
            self.wrong(
                path,
                f"the variable {name} isn't set; set it in the environment or in .env, "
                f"or write ${{{name}:-default}}",
            )
        return value or ""

    def struct(self, kind: type[T], value: object, path: str) -> T:
        """Return a struct of this kind; a field that is wrong keeps its default."""
        if value is None or value is _BROKEN:
            value = {}
        if not isinstance(value, Mapping):
            shown = "text" if isinstance(value, str) else show(value)
            self.wrong(path, f"{shown} is not a section; write keys and values under it")
            return kind()
        fields = {field.name: field for field in msgspec.structs.fields(kind)}
        for key in value:
            if key not in fields:
                self.wrong(_join(path, key), _unknown(key, list(fields)))
        found: dict[str, Any] = {}
        for name, field in fields.items():
            if value.get(name, _BROKEN) is _BROKEN:
                continue
            where, item = _join(path, name), value[name]
            before = len(self.problems)
            if isinstance(field.type, type) and issubclass(field.type, Struct):
                found[name] = self.struct(field.type, item, where)
            elif get_origin(field.type) is dict:
                found[name] = self.sinks(item, where)
            else:
                converted = self.scalar(field.type, item, where)
                if len(self.problems) == before:
                    found[name] = converted
        return kind(**found)

    def sinks(self, value: object, path: str) -> dict[str, SinkSettings]:
        if value is None:
            return {}
        if not isinstance(value, Mapping):
            self.wrong(path, f"{show(value)} is not a section; write a sink's name under it")
            return {}
        sinks: dict[str, SinkSettings] = {}
        for name, item in value.items():
            where = _join(path, name)
            if item is _BROKEN:
                continue
            if not isinstance(name, str) or not _NAME.fullmatch(name):
                self.wrong(where, "is no name for a URL; write letters, digits, - and _")
                continue
            if name.startswith(_OWN_PREFIX):
                self.wrong(where, f"{_OWN_PREFIX} begins names of our own; choose another")
                continue
            sink = self.struct(SinkSettings, item, where)
            untyped = item is None or (isinstance(item, Mapping) and item.get("type") is None)
            if untyped and name != "sse":
                self.wrong(f"{where}.type", 'is missing; write "type: sse"')
            sinks[name] = msgspec.structs.replace(sink, type="sse")
        return sinks

    def scalar(self, kind: Any, value: object, path: str) -> Any:
        lax = isinstance(value, _Expanded)
        if isinstance(value, list):
            value = [item for item in value if item is not _BROKEN]
        try:
            return msgspec.convert(
                str(value) if lax else value, kind, strict=not lax, dec_hook=_read
            )
        except msgspec.ValidationError as error:
            what, _, inner = str(error).partition(" - at `$")
            inner = inner.rstrip("`")
            shown = "what stands here" if path in _SECRET else show(value)
            expected = re.match(r"Expected `(\w+)[^`]*`, got", what)
            if "matching regex" in what or "length >= 8" in what:
                what = "is not a token; write 8 or more visible ASCII characters"
            elif expected:
                subject = "" if inner else shown + " "
                what = f"{subject}is not {_KINDS.get(expected[1], expected[1])}"
            elif what.startswith(("Expected", "Invalid")):
                what = f"{shown} is not allowed: {what[0].lower()}{what[1:]}"
            self.wrong(path + inner, what)
            return None

    def cross_check(self, settings: Settings) -> None:
        """Note what is wrong between settings that are right by themselves."""
        if not settings.sink and not any(
            p.removeprefix(f"{self.origin}: ").startswith("sink") for p in self.problems
        ):
            self.wrong("sink", "is missing or empty; write a name and under it `type: sse`")
        if settings.ingest.auth == "none" and settings.ingest.tokens:
            self.wrong("ingest.auth", "is none although there are tokens; keep one of the two")
        self._check_database(settings.database)
        for name, sink in settings.sink.items():
            if "*" in sink.cors_origins and len(sink.cors_origins) > 1:
                self.wrong(
                    f"sink.{name}.cors_origins",
                    '"*" stands beside others; keep it alone, or leave it out',
                )
            if stream_url(name, sink).rstrip("/") == settings.ingest.path.rstrip("/"):
                self.wrong(
                    f"sink.{name}",
                    f"meets ingest.path at {settings.ingest.path}; change one of the two",
                )

    def _check_database(self, database: DatabaseSettings) -> None:
        scheme, _, place = database.url.partition("://")
        if scheme == "sqlite":
            usable = place.startswith("/") and place.strip("/") not in ("", ":memory:")
        else:
            usable = scheme in REDIS_SCHEMES and bool(place.strip("/"))
        if not usable:
            self.wrong(
                "database.url",
                f"{show(database.url)} is not a log; write sqlite:/// and a file's path, "
                "e.g. sqlite:///data/events.db, or e.g. redis://host:6379/0",
            )
        elif scheme != "sqlite" and (what := redis_fault(database.url)):
            self.wrong("database.url", what)
        elif database.replicas and scheme in ("sqlite", "redis+cluster"):
            self.wrong("database.replicas", f"{scheme} has none to wait for; leave it out")


def _read(kind: type, value: object) -> Any:
    if not issubclass(kind, Value):
        raise NotImplementedError(f"{kind} can't be read")
    return kind.read(value)


def _join(path: str, key: object) -> str:
    return f"{path}.{key}" if path else str(key)


def _unknown(key: object, known: list[str]) -> str:
    close = difflib.get_close_matches(str(key), known, n=1)
    cure = f"did you mean {close[0]}?" if close else f"the settings here are {', '.join(known)}"
    return f"is not a setting; {cure}"
