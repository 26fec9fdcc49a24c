"""The options of commands that talk to a server."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from .texts import http_url

# Rule: RFC 9110, 5.1 and 5.5. A message must not show what stands there: it may be a secret.
_HEADER = re.compile(
    r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?)"
)
# What a header can carry as a token: more than its rule, RFC 9110, 11.2 "token68", allows.
_TOKEN = re.compile(r"[!-~]*")


def _token(context: click.Context, parameter: click.Parameter, value: str) -> str:
    """Return the token, whose text never stands in a message.

    :raises click.BadParameter: a header can't carry it.
    """
    if not _TOKEN.fullmatch(value):
        raise click.BadParameter("the token has a space, or a character outside of ASCII")
    return value


def _headers(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> list[tuple[str, str]]:
    headers = []
    for value in values:
        parts = _HEADER.fullmatch(value)
        if parts is None:
            raise click.BadParameter("it is no header; write e.g. 'X-Tenant: acme'")
        headers.append((parts[1], parts[2]))
    return headers


def with_token(headers: list[tuple[str, str]], token: str) -> list[tuple[str, str]]:
    """Return the headers, and that of the token if there is one.

    :raises click.UsageError: the headers have another.
    """
    if not token:
        return headers
    if any(name.lower() == "authorization" for name, _ in headers):
        raise click.UsageError(
            "--header gives an Authorization beside --token (or SSE_SINK_TOKEN); give one"
        )
    return [*headers, ("Authorization", f"Bearer {token}")]


token_option = click.option(
    "--token",
    metavar="T",
    envvar="SSE_SINK_TOKEN",
    default="",
    callback=_token,
    help="A token; better in the variable SSE_SINK_TOKEN, because others on the machine see a "
    "command's options.",
)


def url_option(help: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return the option ``--url``, with this help."""
    return click.option("--url", metavar="URL", callback=http_url, help=help)


header_option = click.option(
    "--header",
    "headers",
    metavar="HEADER",
    multiple=True,
    callback=_headers,
    help="Send this header, too, e.g. 'X-Tenant: acme'; may be repeated.",
)


@contextmanager
def needs(extra: str) -> Iterator[None]:
    """Import optional libraries in this context: where one is missing, it says how to get it.

    :raises click.ClickException: one is missing.
    """
    try:
        yield
    except ImportError as error:
        name = click.get_current_context().info_name
        raise click.ClickException(
            f"{name} needs a library that isn't installed ({error.name}): "
            f"pip install 'flask-sse-sink[{extra}]'"
        ) from error
