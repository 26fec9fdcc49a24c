"""The Lua that runs inside Redis: a file for each step that must be whole or not at all.

``common.lua`` stands before each of the others.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any


def _source(name: str) -> str:
    folder = files(__name__)
    parts = [folder.joinpath(f"{part}.lua").read_text("utf-8") for part in ("common", name)]
    return "\n".join(parts)


_NAMES = (
    "append",
    "replay",
    "head_before",
    "prune",
    "restore",
    "revoke",
    "forget_revocations",
)
# Read now: the files of a package that is being updated may be of two versions later.
_SOURCES = {name: _source(name) for name in _NAMES}


class Scripts:
    """The scripts as functions of one client. Each takes ``keys`` and ``args``, and runs."""

    def __init__(self, client: Any) -> None:
        self.append = client.register_script(_SOURCES["append"])
        self.replay = client.register_script(_SOURCES["replay"])
        self.head_before = client.register_script(_SOURCES["head_before"])
        self.prune = client.register_script(_SOURCES["prune"])
        self.restore = client.register_script(_SOURCES["restore"])
        self.revoke = client.register_script(_SOURCES["revoke"])
        self.forget_revocations = client.register_script(_SOURCES["forget_revocations"])
