"""``flask sse pull``."""

from __future__ import annotations

import json
import random
import subprocess
import threading
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

import click
from flask.cli import with_appcontext

from ..sinks.http_pull import HttpPull
from .completion import pulled_sinks
from .options import current_runtime, own_url
from .server_options import url_option

_WAIT_SECONDS = 30
_FIRST_DELAY_SECONDS = 1.0
_LONGEST_DELAY_SECONDS = 300.0


@click.command()
@click.argument("name", shell_complete=pulled_sinks)
@click.option("--exec", "command", required=True, metavar="COMMAND", help="Run by the shell.")
@click.option(
    "--batch-size",
    type=click.IntRange(1),
    default=100,
    show_default=True,
    help="Most events in a batch.",
)
@click.option(
    "--lease",
    default=60.0,
    type=click.FloatRange(1),
    show_default=True,
    help="Seconds of a lease.",
)
@url_option("The server's address; by default as configured.")
@click.option("--token", envvar="SSE_SINK_TOKEN", help="A token with a grant to read the sink.")
@click.option("-n", "count", type=click.IntRange(1), help="Stop after so many batches.")
@with_appcontext
def pull(
    name: str,
    command: str,
    batch_size: int,
    lease: float,
    url: str | None,
    token: str | None,
    count: int | None,
) -> None:
    """Run COMMAND for each batch of the pulled sink NAME, and confirm the batch if it exits 0.

    The command gets the reply to an extract, as JSON, on its standard input. When it fails, the
    batch is given back, and comes again after a delay that grows from 1 second to 5 minutes.
    While the command runs, the lease is made longer.
    """
    runtime = current_runtime()
    sink = runtime.sinks.get(name)
    if not isinstance(sink, HttpPull):
        names = [each for each, it in runtime.sinks.items() if isinstance(it, HttpPull)]
        raise click.BadParameter(f"no such pulled sink; there are {', '.join(names) or 'none'}")
    base = (url or own_url(runtime.settings)).rstrip("/") + f"/{name}"
    paths = sink.settings.path
    wait = min(_WAIT_SECONDS, sink.settings.max_wait)
    consumer = _Consumer(base, paths.extract, paths.mark_processed, token)
    query = {"batch_size": batch_size, "lease": lease, "wait": wait}
    try:
        while count is None or count > 0:
            batch = consumer.extract(query)
            if batch["batch_id"] is None:
                continue
            consumer.process(batch, command, lease)
            count = None if count is None else count - 1
    except KeyboardInterrupt:
        pass
    except OSError as error:
        raise click.ClickException(f"{base}: {error}") from error


class _Consumer:
    """Talks to the server about one sink."""

    def __init__(self, base: str, extract: str, confirm: str, token: str | None) -> None:
        self._base = base
        self._extract = extract
        self._confirm = confirm
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._delay = _FIRST_DELAY_SECONDS

    def extract(self, query: dict[str, Any]) -> dict[str, Any]:
        """Return the reply to an extract."""
        return self._ask("GET", self._extract, query)

    def process(self, batch: dict[str, Any], command: str, lease: float) -> None:
        """Run the command, then confirm the batch or give it back."""
        id = batch["batch_id"]
        code = self._run(command, json.dumps(batch).encode(), id, lease)
        if code == 0:
            self._delay = _FIRST_DELAY_SECONDS
            self._ask("POST", self._confirm, {"batch_id": id})
            return
        delay = self._delay * random.uniform(0.8, 1.2)
        self._delay = min(_LONGEST_DELAY_SECONDS, self._delay * 2)
        self._ask("POST", "/release", {"batch_id": id, "delay": f"{delay:.3f}"})
        click.echo(
            f"batch {id}: the command exited with {code}; it comes again in {delay:.0f} s",
            err=True,
        )

    def _run(self, command: str, content: bytes, id: int, lease: float) -> int:
        """Return the command's exit status; the lease is made longer while it runs."""
        done = threading.Event()

        def extend() -> None:
            while not done.wait(lease / 3):
                try:
                    self._ask("POST", "/extend", {"batch_id": id, "lease": lease})
                except OSError as error:
                    click.echo(f"batch {id}: its lease isn't made longer: {error}", err=True)

        thread = threading.Thread(target=extend, daemon=True)
        thread.start()
        try:
            return subprocess.run(command, shell=True, input=content, check=False).returncode
        finally:
            done.set()
            thread.join()

    def _ask(self, method: str, path: str, query: dict[str, Any]) -> dict[str, Any]:
        url = f"{self._base}{path}?{urllib.parse.urlencode(query)}"
        request = urllib.request.Request(url, method=method, headers=self._headers)
        try:
            with urllib.request.urlopen(request, timeout=2 * _WAIT_SECONDS) as answer:
                reply: dict[str, Any] = json.load(answer)
                return reply
        except urllib.error.HTTPError as error:
            detail = error.read().decode(errors="replace")[:500]
            raise OSError(f"{error.code} {detail}") from error
