"""The parts of an endpoint's description. Pure.

Each endpoint is described beside its route, with these classes. :mod:`.openapi` and
:mod:`.asyncapi` make documents of the descriptions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, TypeAlias

#: A JSON Schema (2020-12).
Schema: TypeAlias = dict[str, Any]

#: The names of the ways to say who sends a request; see ``Operation.security``.
ACCESS_TOKEN = "access_token"
INGEST_TOKEN = "ingest_token"
TICKET = "ticket"
COOKIE = "cookie"

TEXT: Schema = {"type": "string"}


class Parameter(NamedTuple):
    """A parameter of the query or of the path, or a request header with a meaning of its own.

    ``example`` is None where there is none to show. ``aliases`` are other names that are taken in
    place of ``name``; a client that is made from the document needs one alone.
    """

    name: str
    about: str
    schema: Schema
    example: object = None
    place: Literal["query", "header", "path"] = "query"
    required: bool = False
    aliases: Sequence[str] = ()


class Frame(NamedTuple):
    """One kind of frame in a stream.

    ``name`` is unique in its stream, ``event`` is the value of the frame's ``event`` field.
    ``data`` is a Struct, whose JSON is the ``data`` field, or the schema of that field's text.
    ``has_id`` says whether the frame may have an ``id`` field.
    """

    name: str
    event: str
    about: str
    data: type | Schema
    example: object
    has_id: bool = False


class Content(NamedTuple):
    """A body of one media type.

    ``kind`` is a type that msgspec knows, or a schema. Where the body is a sequence of JSON texts
    (NDJSON), ``items`` is the type of one of them; where it is a stream, ``frames`` has the kinds
    of its frames. Each of the ``examples`` has a name; for JSON it is the value, else the text.
    """

    media_type: str
    kind: Any
    examples: Mapping[str, object] = {}
    items: Any = None
    frames: Sequence[Frame] = ()


class Header(NamedTuple):
    """A header of an answer."""

    name: str
    about: str
    schema: Schema
    example: object = None


class Answer(NamedTuple):
    """What an endpoint answers with one status.

    ``by_app`` is false where the HTTP server answers before it asks the app.
    """

    status: int
    about: str
    contents: Sequence[Content] = ()
    headers: Sequence[Header] = ()
    by_app: bool = True


class Body(NamedTuple):
    """The body of a request: one of the contents."""

    about: str
    contents: Sequence[Content]
    required: bool = True


@dataclass(frozen=True)
class Operation:
    """One method of one path.

    ``name`` is unique among all operations; generated clients name their functions by it.
    ``summary`` is a few words, ``about`` is Markdown. ``security`` has the ways to say who sends
    the request, of which one suffices; none means that everybody may.

    ``carries`` says whether the operation carries events: ``"in"`` to the server, or ``"out"`` to
    a client. Those operations are in the AsyncAPI document, too. ``HEAD`` isn't described: it
    answers what ``GET`` does, without the body.
    """

    method: str
    path: str
    name: str
    summary: str
    answers: Sequence[Answer]
    about: str = ""
    tag: str = ""
    parameters: Sequence[Parameter] = ()
    body: Body | None = None
    security: Sequence[str] = ()
    carries: Literal["", "in", "out"] = ""
