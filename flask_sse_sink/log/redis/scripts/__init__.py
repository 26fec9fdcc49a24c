"""The Lua that runs inside Redis: a file for each step that must be whole or not at all.

``common.lua`` stands before each of the others, and ``pulled.lua`` before those of pulled sinks.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Any


def _source(name: str) -> str:
    folder = files(__name__)
    names = ["common", name]
    if name.startswith("pull_"):
        names.insert(1, "pulled")
    return "\n".join(folder.joinpath(f"{part}.lua").read_text("utf-8") for part in names)


_NAMES = (
    "append",
    "replay",
    "head_before",
    "prune",
    "restore",
    "count",
    "revoke",
    "forget_revocations",
)
_PULL_NAMES = (
    "pull_acknowledge",
    "pull_advance",
    "pull_batch",
    "pull_confirm",
    "pull_forget",
    "pull_lease",
    "pull_miss",
    "pull_open",
    "pull_place",
    "pull_reset",
    "pull_retry",
    "pull_take",
)
# Read now: the files of a package that is being updated may be of two versions later.
_SOURCES = {name: _source(name) for name in (*_NAMES, *_PULL_NAMES)}


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
        self.count = client.register_script(_SOURCES["count"])
        #: Those of pulled sinks, by name without ``pull_``.
        self.pulled = {
            name.removeprefix("pull_"): client.register_script(_SOURCES[name])
            for name in _PULL_NAMES
        }
