"""What the documentation says about settings, commands and the Python API, made from the code.

``python -m tools.reference`` writes it into the pages, between two comments. A test compares.
"""

from __future__ import annotations

from collections.abc import Callable

from . import commands, http, parts, python, settings

#: What makes each generated part, by the page in ``docs`` and the part's name there.
PARTS: dict[str, dict[str, Callable[[], str]]] = {
    "configuration.md": {"settings": settings.server_tables},
    "pulled-sinks.md": {"settings": settings.pulled_table},
    "commands.md": {"commands": commands.all_commands},
    "http.md": {"endpoints": http.endpoints},
    "python.md": {"names": python.public_names},
}


def fresh(page: str, text: str) -> str:
    """Return a page's text with its generated parts made anew.

    :raises ValueError: the page lacks the comments around a part.
    """
    for name, make in PARTS[page].items():
        text = parts.replaced(text, name, make())
    return text
