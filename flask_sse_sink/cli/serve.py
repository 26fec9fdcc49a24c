"""``sse-sink serve``."""

from __future__ import annotations

import os
import subprocess
import sys
import webbrowser

import click

from ..config import loading
from ..config.addresses import Host
from .init import set_up
from .options import config_option


def _host(ctx: click.Context, param: click.Parameter, value: str | None) -> Host | None:
    try:
        return None if value is None else Host.read(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


@click.command()
@config_option
@click.option("--host", callback=_host, help="Listen on this address; by default server.host.")
@click.option("--port", type=click.IntRange(0, 65535), help="By default server.port.")
@click.option("--workers", type=click.IntRange(1, 1024), help="By default server.workers.")
@click.option("--open", "opens", is_flag=True, help="Open the console in a browser.")
def serve(host: Host | None, port: int | None, workers: int | None, opens: bool) -> None:
    """Run the server, until Ctrl-C; SIGHUP makes it read its configuration again.

    Where this folder has no config.yaml, it is made first, with .env beside it. Options of
    gunicorn, such as --certfile, are taken from the variable GUNICORN_CMD_ARGS.
    """
    try:
        # gunicorn is an optional dependency.
        from ..server.configuration import Overrides, ServerConfiguration
        from ..server.serve import ConfiguredServer
    except ImportError as error:
        raise click.ClickException(
            "serve needs gunicorn: pip install 'flask-sse-sink[server]'"
        ) from error
    file = loading.default_file()
    if not os.environ.get(loading.FILE_VARIABLE) and not file.exists():
        set_up(file)
    overrides = Overrides(host, port, workers)
    configuration = ServerConfiguration(
        file.parent / ".env", overrides, _open_page if opens else None
    )
    ConfiguredServer(configuration).run()


def _open_page(url: str) -> None:
    try:
        webbrowser.get()
    except webbrowser.Error:
        click.echo(f"--open: no browser was found; open {url} yourself", err=True)
        return
    # In a process of its own: to open a page may take seconds, for which no client should wait.
    subprocess.Popen(
        [sys.executable, "-m", "webbrowser", url],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
