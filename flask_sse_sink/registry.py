"""Names and what they stand for: how a part is added without a change in those who use it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Registry(Generic[T]):
    """The parts of one kind by their names. ``kind`` is what errors call such a part."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._parts: dict[str, T] = {}

    def register(self, name: str, part: T) -> None:
        """Add a part.

        :raises ValueError: the name is taken.
        """
        if name in self._parts:
            raise ValueError(f"the {self._kind} {name!r} is registered already")
        self._parts[name] = part

    def unregister(self, name: str) -> None:
        """Remove a part.

        :raises KeyError: there is none of this name.
        """
        del self._parts[name]

    def get(self, name: str) -> T | None:
        """Return the part of this name, None where there is none."""
        return self._parts.get(name)

    def __getitem__(self, name: str) -> T:
        return self._parts[name]

    def __contains__(self, name: object) -> bool:
        return name in self._parts

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names, in the order of registration."""
        return iter(self._parts)

    def items(self) -> list[tuple[str, T]]:
        """Return names and parts, in the order of registration."""
        return list(self._parts.items())
