"""``flask sse …``: check the configuration, publish, follow a stream, look into the log."""

from __future__ import annotations

from flask.cli import AppGroup

from .check import check
from .copy import copy
from .demo import demo
from .events import events
from .publish import publish
from .schema import schema
from .tail import tail

sse = AppGroup("sse", help="Stream events over Server-Sent Events.")

for _command in (check, schema, publish, events, tail, copy, demo):
    sse.add_command(_command)
