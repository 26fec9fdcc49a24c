"""The errors this package raises, all under :class:`SSESinkError`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple


class SSESinkError(Exception):
    """The base of every error that this package raises on purpose."""


class ConfigError(SSESinkError, ValueError):
    """The configuration can't be used; ``problems`` has one line a mistake.

    Each line names the file, the path inside it, what is wrong and the cure.
    """

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))


class Fault(NamedTuple):
    """One thing wrong with an event: where it stands and what to do about it."""

    loc: str
    msg: str


class InvalidEvent(SSESinkError, ValueError):
    """Something offered as an event isn't one; ``faults`` says where and why.

    ``malformed`` is true where the input isn't even JSON.
    """

    def __init__(self, faults: Sequence[Fault], *, malformed: bool = False) -> None:
        self.faults = tuple(faults)
        self.malformed = malformed
        super().__init__("; ".join(f"{loc}: {msg}" if loc else msg for loc, msg in faults))


class LogUnavailable(SSESinkError):
    """The event log can't be read or written now; nothing was half-written.

    Trying again later may work. The message names the cause and the cure, for whoever runs the
    server; ``public`` is the cause in short, for clients: no path, no host, no library's words.
    """

    def __init__(self, message: str, public: str = "the event log is away") -> None:
        super().__init__(message)
        self.public = public


class LogUnusable(LogUnavailable):
    """The event log is damaged or not ours; trying again won't help."""


class TooManyClients(SSESinkError):
    """A sink, or the whole worker, has all the clients that it may have."""


class ServerStopping(TooManyClients):
    """The process is about to end, and another will be there in a moment."""
