"""A strict YAML loader: it refuses a key that stands twice, and limits its own work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from ..exceptions import ConfigError
from .variables import MAX_VALUES

_MAX_BYTES = 2**18
_MAX_DIGITS = 40
# PyYAML raises these where a tag doesn't fit its value.
_MISFIT_ERRORS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)


def parse(path: Path) -> object:
    """Return what a YAML file holds: mappings, lists, strings, numbers and so on.

    :raises OSError: the file can't be read.
    :raises ConfigError: it is too large, isn't UTF-8, or isn't YAML.
    """
    text = _text(path)
    try:
        return yaml.load(text, Loader=_Loader)
    except RecursionError as error:
        raise ConfigError(
            f"{path}: not YAML: is nested too deeply, or holds itself; write it out"
        ) from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: not YAML: {_describe(error)}") from error
    except _MISFIT_ERRORS as error:
        raise ConfigError(f"{path}: not YAML: a tag doesn't fit its value") from error


def _text(path: Path) -> str:
    with path.open("rb") as file:
        raw = file.read(_MAX_BYTES + 1)
    if len(raw) > _MAX_BYTES:
        raise ConfigError(f"{path}: holds more than {_MAX_BYTES} bytes; is it the right file?")
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8 at byte {error.start}; save it as UTF-8") from error


def _describe(error: yaml.YAMLError) -> str:
    """Return what is wrong and where, without the line itself, which may hold a secret."""
    if isinstance(error, yaml.MarkedYAMLError):
        what = ", ".join(part for part in (error.context, error.problem) if part)
        mark = error.problem_mark or error.context_mark
        where = f" at line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        return " ".join(f"{what}{where}".split())
    if isinstance(error, yaml.reader.ReaderError):
        return f"a character that YAML doesn't allow at position {error.position}"
    return "a tag doesn't fit its value"


class _Loader(yaml.SafeLoader):
    """YAML's safe loader with these limits."""

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
        # A merge (`<<`) copies the keys of the other mapping, which may hold merges itself.
        for key, value in node.value:
            if key.tag != "tag:yaml.org,2002:merge":
                continue
            for part in value.value if isinstance(value, yaml.SequenceNode) else [value]:
                if isinstance(part, yaml.MappingNode):
                    self.flatten_mapping(part)
                    self._merged += len(part.value)
                if self._merged > MAX_VALUES:
                    raise yaml.constructor.ConstructorError(
                        None, None, "merges too many values; write them out", key.start_mark
                    )
        super().flatten_mapping(node)

    def construct_number(self, node: yaml.ScalarNode) -> Any:
        """Return an int or float. To parse a long one costs the square of its length."""
        if len(node.value) > _MAX_DIGITS:
            raise yaml.constructor.ConstructorError(
                None, None, "a number of too many digits", node.start_mark
            )
        if node.tag.endswith(":int"):
            return self.construct_yaml_int(node)
        return self.construct_yaml_float(node)


for _tag in ("int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _Loader.construct_number)
