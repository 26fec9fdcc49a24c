"""The mistakes of one configuration, collected so that all of them are reported at once."""

from __future__ import annotations


class Problems:
    """A list of messages. ``origin`` is the file's name, which begins each message."""

    def __init__(self, origin: str) -> None:
        self._origin = origin
        self._entries: list[tuple[str, str]] = []

    def add(self, path: str, what: str) -> None:
        """Add what is wrong with the setting at this path; "" is the whole file."""
        self._entries.append((path, what))

    def __len__(self) -> int:
        return len(self._entries)

    def any_at(self, prefix: str) -> bool:
        """Return whether something is wrong at a path that begins with ``prefix``."""
        return any(path.startswith(prefix) for path, _ in self._entries)

    def reported(self, path: str) -> bool:
        """Return whether something is wrong at a path, in it, or with what it is a part of."""
        return any(
            where == path or where.startswith((f"{path}.", f"{path}[")) or _holds(where, path)
            for where, _ in self._entries
        )

    def messages(self) -> list[str]:
        """Return one line for each mistake: file, path, what is wrong, and the cure."""
        return [
            ": ".join(part for part in (self._origin, path, what) if part)
            for path, what in self._entries
        ]


def _holds(section: str, path: str) -> bool:
    return path.startswith((f"{section}.", f"{section}["))


def join(path: str, key: object) -> str:
    """Return the path of a key in the section at ``path``."""
    return f"{path}.{key}" if path else str(key)
