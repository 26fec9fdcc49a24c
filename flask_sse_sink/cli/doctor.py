"""``flask sse doctor``."""

from __future__ import annotations

import json
from typing import Any

import click
from flask.cli import ScriptInfo

from ..config.addresses import Origin
from ..doctor.examination import Options, examine
from ..doctor.local import examine_locally
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
@click.argument("url", required=False)
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
@click.pass_context
def doctor(
    ctx: click.Context,
    /,
    url: str | None,
    as_json: bool,
    headers: list[tuple[str, str]],
    **how: Any,
) -> None:
    """Say whether the stream at URL gets through, and what hinders it.

    Opens streams there as a browser does, and holds two of them. Without a URL, looks at this
    machine: configuration, log, disk, limits of the system, and the server if it runs. Names what
    it finds with a code, the likely cause and the cure; the exit status is 1 then.
    """
    if url is not None:
        report = _examined(url, headers, **how)
    elif headers or how["origin"]:
        raise click.UsageError("--header and --origin are for a URL; name one")
    else:
        report = examine_locally(ctx.ensure_object(ScriptInfo).load_app, how["token"])
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
