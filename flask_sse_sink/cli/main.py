"""``sse-sink …``: the same commands as ``flask sse …``, with ``serve`` and ``init``.

It needs no Flask app of the user's: it makes the ready server's from the configuration file.
"""

from __future__ import annotations

import click
from flask import Flask
from flask.cli import ScriptInfo

from ..config import loading
from ..server.app import create_app
from . import COMMANDS
from .group import CommandGroup, version_option
from .init import init
from .options import config_option
from .serve import serve


def _create_app() -> Flask:
    file = loading.default_file()
    loading.load_variables(file.parent / ".env")
    return create_app(file)


@click.group(
    cls=CommandGroup,
    name="sse-sink",
    commands=[serve, init, *COMMANDS],
    context_settings={"help_option_names": ["-h", "--help"]},
)
@version_option
@config_option
@click.pass_context
def main(ctx: click.Context) -> None:
    """Run a server that streams events over Server-Sent Events, and work with it.

    Begin with `sse-sink serve`. Commands read config.yaml in this folder, and .env beside it.
    """
    ctx.obj = ScriptInfo(create_app=_create_app)
