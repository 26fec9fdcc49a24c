"""The commands of ``flask sse`` and ``sse-sink``, from click."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator

import click

from flask_sse_sink.cli import sse
from flask_sse_sink.cli.main import main

from .parts import table


def all_commands() -> str:
    """Return a table of all commands, and then a section for each."""
    # What `flask sse` has, `sse-sink` has, too.
    own = [
        (f"sse-sink {name}", it) for name, it in main.commands.items() if name not in sse.commands
    ]
    commands = sorted([*_commands("flask sse", sse), *own])
    rows: list[tuple[str, ...]] = [
        (f"[`{name}`](#{name.replace(' ', '-')})", _help(command)[0].rstrip("."))
        for name, command in commands
    ]
    sections = [_section(name, command) for name, command in commands]
    return "\n\n".join([table(("command", ""), rows), *sections])


def _commands(prefix: str, group: click.Group) -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        yield f"{prefix} {name}", command
        if isinstance(command, click.Group):
            yield from _commands(f"{prefix} {name}", command)


def _help(command: click.Command) -> list[str]:
    """Return the paragraphs of a command's help, each on one line."""
    text = inspect.cleandoc(command.help or "").partition("\f")[0]
    return [" ".join(paragraph.split()) for paragraph in re.split(r"\n\s*\n", text)]


def _section(name: str, command: click.Command) -> str:
    arguments = [each for each in command.params if isinstance(each, click.Argument)]
    options = [each for each in command.params if isinstance(each, click.Option)]
    usage = " ".join([name, *(["[OPTIONS]"] if options else []), *map(_argument, arguments)])
    parts = [f"## {name}", f"```text\n{usage}\n```", *_help(command)]
    if options:
        parts.append("\n".join(f"- {_option(each)}" for each in options if not each.hidden))
    return "\n\n".join(parts)


def _argument(argument: click.Argument) -> str:
    name = argument.metavar or (argument.name or "").upper()
    name = f"{name}..." if argument.nargs == -1 else name
    return name if argument.required else f"[{name}]"


def _option(option: click.Option) -> str:
    names = ", ".join(option.opts)
    if not (option.is_flag or option.count):
        names += f" {option.metavar or option.type.name.upper().replace(' RANGE', '')}"
    notes = []
    if option.required:
        notes.append("required")
    if option.show_default:
        notes.append(f"default: {option.default}")
    if option.envvar:
        notes.append(f"or in the variable `{option.envvar}`")
    described = f": {option.help}" if option.help else ""
    noted = f" ({', '.join(notes)})" if notes else ""
    return f"`{names}`{described}{noted}"
