"""A reader of one stream, which reconnects by itself. Needs the library ld_eventsource."""

from __future__ import annotations

from collections.abc import Generator

import click
from ld_eventsource import SSEClient
from ld_eventsource.actions import Event, Fault
from ld_eventsource.config import ConnectStrategy, ErrorStrategy
from ld_eventsource.errors import HTTPStatusError


def read(address: str, token: str = "") -> Generator[str, None, None]:
    """Yield the data of each message, and print each `info` and fault to standard error.

    Every request sends the token in the header `Authorization`, if there is one.

    :raises click.ClickException: the server refuses the request with a status of 4xx.
    """
    client = SSEClient(
        connect=ConnectStrategy.http(
            address, headers={"Authorization": f"Bearer {token}"} if token else None
        ),
        error_strategy=ErrorStrategy.always_continue(),
        initial_retry_delay=1,
    )
    try:
        for item in client.all:
            if isinstance(item, Fault):
                _report(item, address)
            elif isinstance(item, Event) and item.event == "message":
                yield item.data
            elif isinstance(item, Event) and item.event == "info":
                click.echo(f"# {item.data}", err=True)
    finally:
        client.close()


def _report(fault: Fault, address: str) -> None:
    error = fault.error
    if isinstance(error, HTTPStatusError) and 400 <= error.status < 500:
        hint = "; name a token that is valid: --token, or SSE_SINK_TOKEN"
        raise click.ClickException(
            f"{address} answered {error.status}{hint if error.status == 401 else ''}"
        )
    click.echo(f"# {error or 'the stream ended'}; connecting again", err=True)
