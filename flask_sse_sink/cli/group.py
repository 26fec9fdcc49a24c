"""What holds for every command: how it fails, and when its output has colours."""

from __future__ import annotations

import errno
import os
from typing import Any

import click
from flask.cli import AppGroup

from ..exceptions import ConfigError, InvalidEvent, SSESinkError
from ..version import __version__

#: The exit status where the command line, the configuration or the input is wrong, as click has
#: it; other failures are 1.
WRONG_INPUT = 2
# The status with which wsgi.py ends where it can't load the app; it has printed why.
_APP_NOT_LOADED = 3


class WrongInput(click.ClickException):
    """Ends a command with a message: what it was given to read is wrong."""

    exit_code = WRONG_INPUT


class CommandGroup(AppGroup):
    """A group of commands, which turns this package's errors into messages and exit statuses."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command that the command line names."""
        if os.environ.get("NO_COLOR"):
            ctx.color = False
        try:
            return super().invoke(ctx)
        except SSESinkError as error:
            raise failure(error) from error
        except OSError as error:
            if error.errno == errno.EPIPE:
                # Whoever read the output has gone, e.g. `head`; click ends quietly.
                raise
            name = f"{error.filename}: " if error.filename else ""
            raise click.ClickException(f"{name}{error.strerror or error}") from error
        except SystemExit as end:
            if end.code != _APP_NOT_LOADED:
                raise
            raise click.exceptions.Exit(WRONG_INPUT) from None


def failure(error: SSESinkError) -> click.ClickException:
    """Return the error as click reports it, with the exit status that fits."""
    kind = WrongInput if isinstance(error, (ConfigError, InvalidEvent)) else click.ClickException
    return kind(str(error))


version_option = click.version_option(
    __version__, package_name="flask-sse-sink", message="%(package)s %(version)s"
)
