"""``flask sse …``: check the configuration, publish, follow streams, look into the log, revoke."""

from __future__ import annotations

from flask.cli import AppGroup

from .check import check
from .copy import copy
from .demo import demo
from .events import events
from .publish import publish
from .pull import pull
from .pulls import pulls
from .revoke import revocations, revoke, unrevoke
from .schema import schema
from .tail import tail
from .token import token

sse = AppGroup("sse", help="Stream events over Server-Sent Events.")

_COMMANDS = (
    check,
    schema,
    publish,
    events,
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
for _command in _COMMANDS:
    sse.add_command(_command)
