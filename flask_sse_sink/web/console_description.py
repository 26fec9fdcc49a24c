"""The description of the console's endpoints, and of those that answer browsers with its page."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from msgspec import Struct

from ..config.settings import Settings
from ..description.blueprint import Describe
from ..description.operations import TEXT, Answer, Content, Operation, Parameter
from . import answers

#: Where the files of the page are.
PATH = "/console"
#: The types of the files; the machine may have other ideas of them.
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_MEDIA_TYPES = [kind.partition(";")[0] for kind in TYPES.values()]


class _Numbers(Struct):
    """The numbers of open sinks, at a time in seconds since the epoch."""

    now: float
    sinks: dict[str, dict[str, float]]


def describe(settings: Settings) -> Sequence[Operation]:
    """Return the console's endpoints, none where it is left out."""
    if not settings.server.console:
        return ()
    file = Answer(200, "The file.", [Content(kind, TEXT) for kind in _MEDIA_TYPES], [answers.ETAG])
    gone = answers.problem(404, "Not Found", "there is no such file")
    example = {"now": 1764064800.0, "sinks": {"alerts": {"clients": 3.0}}}
    return (
        Operation(
            "GET",
            f"{PATH}/{{version}}/{{name}}",
            "console_file",
            "A file of the console",
            [file, answers.NOT_MODIFIED, gone],
            tag="server",
            parameters=[
                Parameter("version", "That of all files.", TEXT, place="path"),
                Parameter("name", "The file's name.", TEXT, "console.js", place="path"),
            ],
        ),
        Operation(
            "GET",
            f"{PATH}/sinks.json",
            "console_sinks",
            "The numbers that the console shows of open sinks",
            [
                answers.json(200, "The numbers.", _Numbers, numbers=example),
                answers.problem(503, "Numbers are away", "they can't be read"),
            ],
            tag="server",
        ),
    )


def with_page(describe: Describe) -> Describe:
    """Return what describes the same endpoints where they answer browsers with the page."""

    def describe_both(settings: Settings) -> Sequence[Operation]:
        return [_with_page(each) for each in describe(settings)]

    return describe_both


def _with_page(operation: Operation) -> Operation:
    about = "The stream; for a browser that opens this URL, the console."
    found = [
        each._replace(about=about, contents=[*each.contents, Content("text/html", TEXT)])
        if each.status == 200
        else each
        for each in operation.answers
    ]
    return dataclasses.replace(operation, answers=found)
