"""``flask sse …``: check the configuration, publish, follow streams, look into the log, revoke."""

from __future__ import annotations

import click

from .check import check
from .copy import copy
from .demo import demo
from .description import asyncapi, openapi
from .doctor import doctor
from .events import events
from .explain import explain
from .export import export
from .group import CommandGroup, version_option
from .import_ import import_
from .publish import publish
from .pull import pull
from .pulls import pulls
from .revoke import revocations, revoke, unrevoke
from .schema import schema
from .stats import stats
from .tail import tail
from .token import token

#: The commands of `flask sse`, which `sse-sink` has, too.
COMMANDS = (
    check,
    doctor,
    explain,
    schema,
    openapi,
    asyncapi,
    publish,
    events,
    export,
    import_,
    stats,
    tail,
    copy,
    demo,
    pulls,
    pull,
    token,
    revoke,
    unrevoke,
    revocations,
)


@click.group("sse", cls=CommandGroup, commands=COMMANDS)
@version_option
def sse() -> None:
    """Stream events over Server-Sent Events."""
