"""A reader of one stream, which reconnects by itself. Needs the library ld_eventsource."""

from __future__ import annotations

from collections.abc import Generator

import click
from ld_eventsource import SSEClient
from ld_eventsource.actions import Event, Fault
from ld_eventsource.config import ConnectStrategy, ErrorStrategy
from ld_eventsource.errors import HTTPStatusError


def read(address: str) -> Generator[str, None, None]:
    """Yield the data of each message, and print each `info` and fault to standard error.

    :raises click.ClickException: the server refuses the request with a status of 4xx.
    """
    client = SSEClient(
        connect=ConnectStrategy.http(address),
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
        raise click.ClickException(f"{address} answered {error.status}")
    click.echo(f"# {error or 'the stream ended'}; connecting again", err=True)
