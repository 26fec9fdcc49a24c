"""A reader of one stream, which reconnects by itself. Needs the library ld_eventsource."""

from __future__ import annotations

import socket
from collections.abc import Generator, Mapping
from typing import Any

import click
import urllib3
from ld_eventsource import SSEClient
from ld_eventsource.actions import Event, Fault
from ld_eventsource.config import ConnectStrategy, ErrorStrategy
from ld_eventsource.errors import HTTPContentTypeError, HTTPStatusError
from urllib3.connection import HTTPConnection

from .remote import Problem, Refused, is_lasting, why
from .texts import shown, without_query

# Bytes of a refusal's body that are read.
_MOST = 64 * 1024
_NO_CONTENT = 204
# A server that vanished without a word is noticed within two minutes.
_KEEPALIVE = [
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *(
        (socket.IPPROTO_TCP, getattr(socket, name), value)
        for name, value in (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 15), ("TCP_KEEPCNT", 4))
        if hasattr(socket, name)
    ),
]


class _Pool(urllib3.PoolManager):
    """Connections that keep alive; ``refusal`` is what the last answer said, None for a stream."""

    def __init__(self) -> None:
        options = [*HTTPConnection.default_socket_options, *_KEEPALIVE]
        super().__init__(timeout=urllib3.Timeout(connect=10, read=None), socket_options=options)
        self.refusal: Problem | None = None

    def request(self, method: str, url: str, *args: Any, **options: Any) -> Any:
        """Return the response; the library asks for it without its body."""
        self.refusal = None
        response = super().request(method, url, *args, **options)
        kind = response.headers.get("Content-Type") or ""
        if response.status >= 400 or not kind.startswith("text/event-stream"):
            # The library takes no more of it.
            try:
                self.refusal = Problem.read(response.status, response.read(_MOST))
            finally:
                response.close()
        return response


def read(
    address: str, headers: Mapping[str, str], retries: int | None = None
) -> Generator[Event, None, None]:
    """Yield each event, and print each `info` and fault to standard error.

    Every request sends the headers. After ``retries`` attempts in a row without an event, it
    gives up.

    :raises click.ClickException: the server refuses the request for good, or it gave up.
    """
    pool = _Pool()
    client = SSEClient(
        connect=ConnectStrategy.http(address, headers=dict(headers), pool=pool),
        error_strategy=ErrorStrategy.always_continue(),
        initial_retry_delay=1,
    )
    failed = 0
    try:
        for item in client.all:
            if isinstance(item, Fault):
                reason = _reason(item, address, pool)
                if retries is not None and failed >= retries:
                    raise click.ClickException(
                        f"{without_query(address)}: {reason}; gave up after {failed} retries"
                    )
                failed += 1
                click.echo(f"# {reason}; connecting again", err=True)
            elif isinstance(item, Event):
                failed = 0
                if item.event == "info":
                    click.echo(f"# {shown(item.data)}", err=True)
                elif item.event != "heartbeat":
                    yield item
    finally:
        client.close()
        pool.clear()


def _reason(fault: Fault, address: str, pool: _Pool) -> str:
    """Return why the stream ended, or didn't begin, if it may begin again.

    :raises click.ClickException: it won't.
    """
    error = fault.error
    where = without_query(address)
    if isinstance(error, HTTPContentTypeError):
        kind = shown(error.content_type, 80) or "nothing"
        raise click.ClickException(
            f"{where} is no event stream but {kind}; name a sink's URL, e.g. "
            "http://127.0.0.1:8000/events_stream/"
        )
    if isinstance(error, HTTPStatusError):
        if error.status == _NO_CONTENT:
            raise click.ClickException(f"{where} answered 204: the stream is over for good")
        problem = pool.refusal or Problem(error.status, "", {})
        if 400 <= error.status < 500:
            raise Refused(address, problem)
        return problem.text
    if error is None:
        return "the stream ended"
    if is_lasting(error):
        raise click.ClickException(f"{where}: {why(error)}")
    return why(error)
