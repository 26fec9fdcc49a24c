"""Environment variables in the configuration: ``${VAR}``, ``$VAR`` and ``${VAR:-default}``.

They are expanded after YAML was parsed, so that the value of a variable can't add YAML.
"""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Mapping
from typing import Any

from .problems import Problems, join

#: How many values a configuration may hold, those that YAML's aliases stand for included. A few
#: aliases of aliases can stand for billions of values.
MAX_VALUES = 20_000
_MAX_DEPTH = 20
_SHOWN_PATH = 80
_VARIABLE = re.compile(
    r"\$\$"
    r"|\$\{(?P<braced>[A-Za-z_]\w*)(?::-(?P<default>[^}]*))?\}"
    r"|\$(?P<bare>[A-Za-z_]\w*)"
    r"|\$\{"
)

#: Stands for a value that can't be used; the problems say why already.
BROKEN: Any = object()


class Expanded(str):
    """Text that came from a variable: it may stand for a number or a truth value."""


def expand(content: object, problems: Problems) -> Any:
    """Return the content with the variables in its strings replaced.

    A value that can't be expanded is added to ``problems``, and :data:`BROKEN` takes its place.
    """
    return _Expansion(problems).value(content, "", 0)


class _Expansion:
    """One walk through a configuration, which counts the values it meets."""

    def __init__(self, problems: Problems) -> None:
        self._problems = problems
        self._count = 0

    def value(self, value: Any, path: str, depth: int) -> Any:
        self._count += 1
        if self._count > MAX_VALUES:
            if self._count == MAX_VALUES + 1:
                self._problems.add(
                    path[:_SHOWN_PATH], f"is beyond the {MAX_VALUES} values that may be set"
                )
            return BROKEN
        if depth > _MAX_DEPTH:
            self._problems.add(
                path[:_SHOWN_PATH], "is nested too deeply, or holds itself; write it out"
            )
            return BROKEN
        if isinstance(value, Mapping):
            return {
                key: self.value(item, join(path, key), depth + 1)
                for key, item in itertools.islice(value.items(), MAX_VALUES + 1)
            }
        if isinstance(value, (list, tuple)):
            return [self.value(item, f"{path}[{n}]", depth + 1) for n, item in enumerate(value)]
        return self._text(value, path) if isinstance(value, str) else value

    def _text(self, text: str, path: str) -> Any:
        before = len(self._problems)
        if "$" in text:
            text = Expanded(_VARIABLE.sub(lambda match: self._variable(match, path), text))
        if not text.isprintable():
            self._problems.add(path, "holds a control character; write plain text")
        return text if len(self._problems) == before else BROKEN

    def _variable(self, match: re.Match[str], path: str) -> str:
        if match[0] == "$$":
            return "$"
        name, default = match["braced"] or match["bare"], match["default"]
        if name is None:
            self._problems.add(
                path, "a lone ${; write ${VAR}, ${VAR:-default}, or $$ for a dollar sign"
            )
            return ""
        value = os.environ.get(name)
        if default is not None:
            return value or default
        if value is None:
            self._problems.add(
                path,
                f"the variable {name} isn't set; set it in the environment or in .env, "
                f"or write ${{{name}:-default}}",
            )
        return value or ""
