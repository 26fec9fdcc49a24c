"""``flask sse doctor``."""

from __future__ import annotations

import json
from typing import Any

import click

from ..config.addresses import Origin
from ..doctor.examination import Options, examine
from ..doctor.report import Report
from ..doctor.target import BadUrl, Target
from .server_options import header_option, token_option, with_token


def _origin(context: click.Context, parameter: click.Parameter, value: str | None) -> str:
    try:
        origin = "" if value is None else Origin.read(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None
    if origin == "*":
        raise click.BadParameter("name the one origin that your page has")
    return origin


@click.command()
@click.argument("url", required=True)
@click.option("--json", "as_json", is_flag=True, help="One JSON object in place of text.")
@click.option(
    "--origin",
    metavar="ORIGIN",
    callback=_origin,
    help="Look as a page of this origin does, e.g. https://app.example.",
)
@token_option
@header_option
@click.option(
    "--seconds",
    default=60.0,
    show_default=True,
    type=click.FloatRange(10, 86400),
    help="How long to look at most.",
)
def doctor(url: str, as_json: bool, headers: list[tuple[str, str]], **how: Any) -> None:
    """Say whether the stream at URL gets through, and what hinders it.

    Opens streams there as a browser does, and holds two of them. Names what it finds with a code,
    the likely cause and the cure. The exit status is 1 if it found something.
    """
    report = _examined(url, headers, **how)
    if as_json:
        click.echo(json.dumps(report.as_json(), indent=2))
    else:
        for line in report.lines():
            click.echo(line)
    if report.findings:
        raise click.exceptions.Exit(1)


def _examined(
    url: str, headers: list[tuple[str, str]], token: str, origin: str, seconds: float
) -> Report:
    try:
        target = Target.parse(url, with_token(headers, token))
    except BadUrl as error:
        raise click.BadParameter(str(error), param_hint="URL") from None
    return examine(target, Options(origin, seconds, _tell))


def _tell(text: str) -> None:
    click.echo(f"# {text}", err=True)
