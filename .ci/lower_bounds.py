"""Print the oldest packages that setup.cfg allows, one requirement a line, for pip."""

from __future__ import annotations

import configparser
import re
from pathlib import Path

# What the tests run with; the linters aren't needed.
EXTRAS = ("server", "redis", "jwt", "cli", "test")


def lower_bounds(setup: configparser.ConfigParser) -> list[str]:
    """Return each requirement of the package and its extras, with ``>=`` turned into ``==``.

    A package that stands in several extras is returned once, with its highest bound: the
    bound of the package itself stands first.
    """
    lines = setup["options"]["install_requires"].splitlines()
    for extra in EXTRAS:
        lines += setup["options.extras_require"][extra].splitlines()
    pinned: dict[str, str] = {}
    for line in filter(None, lines):
        # "redis[hiredis] >= 5.0.8, != 6.4.0" is pinned to 5.0.8; a marker after ";" stays.
        match = re.fullmatch(r"([\w.-]+)(\[[\w,]+\])? >= ([\w.]+)[^;]*(;.*)?", line)
        if match is None:
            raise SystemExit(f"setup.cfg: {line!r} has no lower bound")
        name, extras, version, marker = match.groups(default="")
        pinned.setdefault(name.lower(), f"{name}{extras}=={version}{marker}")
    return list(pinned.values())


if __name__ == "__main__":
    parser = configparser.ConfigParser()
    parser.read(Path(__file__).parent.parent / "setup.cfg")
    print(*lower_bounds(parser), sep="\n")
