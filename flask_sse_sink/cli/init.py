"""``sse-sink init``."""

from __future__ import annotations

from pathlib import Path

import click

from ..config.loading import DEFAULT_FILE
from ..server import new_folder


@click.command()
@click.argument("folder", default=".", type=click.Path(file_okay=False, path_type=Path))
def init(folder: Path) -> None:
    """Make config.yaml and .env in FOLDER, by default in this one.

    config.yaml shows every setting with its default; .env has a token and a secret of its own.
    Files that are there stay as they are; variables that .env lacks are added at its end.
    """
    if not set_up(folder / DEFAULT_FILE):
        click.echo(f"{folder / DEFAULT_FILE} and .env are there already.", err=True)


def set_up(file: Path) -> bool:
    """Make what is missing of the file and the .env beside it; return whether anything was."""
    try:
        done = new_folder.set_up(file)
    except (OSError, UnicodeDecodeError) as error:
        what = error.strerror if isinstance(error, OSError) else "its .env isn't UTF-8"
        raise click.ClickException(
            f"{file.absolute().parent}: nothing can be made here ({what}); "
            "go to a folder of your own, or name one: sse-sink init FOLDER"
        ) from error
    for line in done:
        click.echo(line, err=True)
    return bool(done)
