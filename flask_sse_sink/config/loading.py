"""A YAML file or a mapping into checked settings: every mistake at once, each with its cure."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
from dotenv import load_dotenv

from ..exceptions import ConfigError
from . import access_settings, yaml_loader
from .checks import check
from .databases import DATABASES, scheme_of
from .problems import Problems
from .reading import read_settings
from .settings import Settings
from .variables import expand

DEFAULT_FILE = "config.yaml"
FILE_VARIABLE = "SSE_SINK_CONFIG"


def default_file() -> Path:
    """Return the file that :data:`FILE_VARIABLE` names, else :data:`DEFAULT_FILE`."""
    return Path(os.environ.get(FILE_VARIABLE) or DEFAULT_FILE)


def load_variables(dotenv: Path) -> None:
    """Put the variables of a ``.env`` into the environment, but for those that it has already.

    A file that isn't there is as an empty one.

    :raises ConfigError: the file can't be read.
    """
    try:
        # Its own search for a file would begin in the folder of this module.
        load_dotenv(dotenv)
    except OSError as error:
        raise ConfigError(f"{dotenv}: can't be read ({error.strerror}); let this user") from error
    except ValueError as error:
        raise ConfigError(f"{dotenv}: isn't UTF-8; save it as UTF-8") from error


_held: dict[Path, Settings] = {}


def hold(path: str | os.PathLike[str], settings: Settings | None) -> None:
    """Make :func:`load` return these settings for the file, in this process and its forks.

    gunicorn's master does so: a worker that starts while somebody edits the file gets what the
    master has read, not half of a change. With ``None``, :func:`load` reads the file again.
    """
    if settings is None:
        _held.pop(Path(path).absolute(), None)
    else:
        _held[Path(path).absolute()] = settings


def held(path: str | os.PathLike[str]) -> Settings | None:
    """Return the settings that :func:`hold` keeps for the file, None where there are none."""
    return _held.get(Path(path).absolute())


def load(path: str | os.PathLike[str]) -> Settings:
    """Return the settings that :func:`hold` keeps for a YAML file, else read the file.

    :raises ConfigError: the file can't be read, isn't YAML, or has mistakes; it lists them all.
    """
    return held(path) or read(path)


def read(path: str | os.PathLike[str]) -> Settings:
    """Return the settings in a YAML file.

    :raises ConfigError: the file can't be read, isn't YAML, or has mistakes; it lists them all.
    """
    path = Path(path)
    try:
        content = yaml_loader.parse(path)
    except OSError as error:
        raise ConfigError(
            f"{path}: can't be read ({error.strerror}); `sse-sink init` makes one, or name "
            f"another in {FILE_VARIABLE}"
        ) from error
    return from_mapping({} if content is None else content, str(path), path.absolute().parent)


def from_mapping(content: object, origin: str, base: Path) -> Settings:
    """Return the settings in a mapping that is shaped like the configuration file.

    ``origin`` is what errors call the mapping. The database's path is relative to ``base``.

    :raises ConfigError: the settings have mistakes; it lists them all.
    """
    problems = Problems(origin)
    settings = read_settings(expand(content, problems), problems)
    check(settings, problems)
    if problems:
        raise ConfigError(problems.messages())
    database = DATABASES[scheme_of(settings.database)].resolved(settings.database, base)
    access = access_settings.resolved(settings.access, base)
    return msgspec.structs.replace(settings, database=database, access=access)
