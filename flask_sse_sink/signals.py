"""The public signals (blinker). The sender of each is the Flask app that it happened in.

Receivers run at once, on the thread that made it happen, which for ``events_stored`` is the one
thread that feeds every stream of the process: hand long work to a thread of your own. No app
context is promised; push ``sender.app_context()`` where you need one. A receiver that raises
(``SystemExit`` too) is logged, and neither the other receivers nor the streams notice. Blinker
holds receivers weakly: keep a reference to yours.
"""

from __future__ import annotations

import logging
from typing import Any

import blinker
from flask import Flask

_log = logging.getLogger(__name__)
_signals = blinker.Namespace()

#: Sent in every process, in the order of ids, once an event is in the log; ``events`` is the list
#: of one or more :class:`~flask_sse_sink.event.Event` since the last time. Events that another
#: process stored are among them.
events_stored = _signals.signal("events-stored")

#: Sent when a stream begins; ``sink`` is the sink's name, ``client`` the
#: :class:`~flask_sse_sink.stream.client.Client`.
client_connected = _signals.signal("client-connected")

#: Sent when a stream has ended, however it ended: ``client.reason`` says why, ``seconds`` and
#: ``frames`` how much there was of it. A client that was not let in has the reason ``refused``,
#: and no ``client_connected`` came before. ``sink`` and ``client`` as above.
client_disconnected = _signals.signal("client-disconnected")


def emit(signal: blinker.NamedSignal, sender: Flask, **values: Any) -> None:
    """Send the signal; unlike :meth:`blinker.Signal.send`, a receiver that raises stops nobody."""
    if signal.is_muted:
        return
    for receiver in signal.receivers_for(sender):
        try:
            sender.ensure_sync(receiver)(sender, **values)
        # SystemExit too: a receiver that calls sys.exit() would end the worker, and every stream
        # with it. KeyboardInterrupt is somebody at the keyboard who means the program.
        except (Exception, SystemExit):
            _log.exception("receiver %r of signal %s raised", receiver, signal.name)
