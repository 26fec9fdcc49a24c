"""What a new server needs in its folder: a configuration file, and ``.env`` with secrets."""

from __future__ import annotations

import os
import secrets
from importlib import resources
from pathlib import Path

from dotenv import dotenv_values

#: The variables that the shipped configuration file names, each a secret.
VARIABLES = ("INGEST_TOKEN", "ACCESS_SECRET")


def set_up(file: Path) -> list[str]:
    """Create what is missing of a configuration file and the ``.env`` beside it.

    Returns a line for each file that was created or added to. What is there is never changed, but
    for lines at the end of ``.env`` with variables that neither it nor the environment has.

    :raises OSError: a file can't be written.
    """
    done = []
    file.parent.mkdir(parents=True, exist_ok=True)
    if not file.exists():
        _create(file, _template(), 0o666)
        done.append(f"Made {file}: every setting, with its default.")
    dotenv = file.parent / ".env"
    is_new = not dotenv.exists()
    if names := _missing_variables(dotenv):
        _add_secrets(dotenv, names)
        what = f"Made {dotenv}, which only you may read" if is_new else f"Added to {dotenv}"
        done.append(f"{what}: {' and '.join(names)}, with random values.")
    return done


def _template() -> str:
    """Return the shipped configuration file, without the line that names a schema beside it."""
    text = resources.files(__package__).joinpath("config.yaml").read_text("utf-8")
    lines = text.splitlines(keepends=True)
    return "".join(line for line in lines if "$schema=" not in line).removeprefix("#\n")


def _missing_variables(dotenv: Path) -> list[str]:
    known = dotenv_values(dotenv) if dotenv.exists() else {}
    return [name for name in VARIABLES if name not in known and name not in os.environ]


def _add_secrets(dotenv: Path, names: list[str]) -> None:
    lines = "".join(f"{name}={secrets.token_urlsafe(32)}\n" for name in names)
    if not dotenv.exists():
        _create(dotenv, lines, 0o600)
        return
    text = dotenv.read_bytes()
    with dotenv.open("a") as file:
        file.write(lines if not text or text.endswith(b"\n") else f"\n{lines}")


def _create(path: Path, text: str, mode: int) -> None:
    """Write a new file; one that somebody else has made meanwhile stays as it is."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    except FileExistsError:
        return
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
    except OSError:
        path.unlink()
        raise
