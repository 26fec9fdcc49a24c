"""Admission: how many streams a process lets in, and who gets them."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from typing import Any, Self

from ..exceptions import ServerStopping, TooManyClients
from .address import counted_address
from .capacity import Capacity, measure, reserve
from .wsgi_server import greenlet_library

_log = logging.getLogger(__name__)

#: How long an admitted stream may take until its first bytes are asked for. A server asks at once;
#: where nobody does, something else was answered in place of the stream.
BEGIN_SECONDS = 10.0


class Admission:
    """Lets streams in, up to ``max_clients`` in this process.

    A stream holds a thread, and the threads that are left serve everything else. ``per_address``
    bounds the streams of one address (:func:`~.address.counted_address`); 0 sets no bound. A slot
    whose stream doesn't begin within ``begin_seconds`` is taken back.
    """

    def __init__(
        self,
        max_clients: int,
        per_address: int = 0,
        begin_seconds: float = BEGIN_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limit = max_clients
        self.per_address = per_address
        self.begin_seconds = begin_seconds
        #: Whether nobody is let in any more, as the process is about to end.
        self.draining = False
        self._max_clients = max_clients
        self._clock = clock
        self._measured = False
        self._taken = 0
        self._by_sink: Counter[str] = Counter()
        self._by_address: Counter[str] = Counter()
        # The slots whose streams haven't begun, the oldest first, and since when.
        self._unbegun: dict[Slot, float] = {}
        # Slots that were given back, and are still counted.
        self._returned: deque[Slot] = deque()
        self._warned = False
        self._lock = threading.Lock()

    @property
    def taken(self) -> int:
        """Return how many slots are taken now."""
        with self._lock:
            self._settle()
            return self._taken

    @property
    def taken_by_sink(self) -> dict[str, int]:
        """Return how many slots each sink has taken, without those that have none."""
        with self._lock:
            self._settle()
            return dict(self._by_sink)

    @property
    def taken_by_address(self) -> dict[str, int]:
        """Return how many slots each address has taken, without those that have none."""
        with self._lock:
            self._settle()
            return dict(self._by_address)

    def spare_threads(self) -> int:
        """Return how many threads of this process are not taken by streams."""
        return max(0, self.limit - self.taken) + reserve(self.limit)

    def has_threads(self, environ: Mapping[str, Any]) -> bool:
        """Return whether this server has threads for streams; if not, the log says why.

        ``environ`` is that of the request, on whose thread this is called.
        """
        self.measure(environ)
        return not greenlet_library()

    def measure(self, environ: Mapping[str, Any] | None = None) -> None:
        """Lower the limit, once, to what the server can carry."""
        if not self._measured:
            self.fit(measure(environ))

    def fit(self, capacity: Capacity) -> None:
        """Lower the limit to this capacity, and say so in the log."""
        self._measured = True
        if capacity.streams < self.limit:
            self.limit = capacity.streams
            _log.warning(
                "at most %d streams are admitted instead of server.max_clients: %d, as more would "
                "leave nothing to the rest; bounded by %s",
                capacity.streams,
                self._max_clients,
                capacity.bound,
            )

    def admit(self, sink: str = "", sink_limit: int = 0, address: str | None = None) -> Slot:
        """Let one more stream in, and return its slot.

        ``sink_limit`` bounds the streams of this sink; 0 sets no bound.

        :raises TooManyClients: there is no slot; the message says of which kind.
        :raises ServerStopping: the process is about to end.
        """
        if self.draining:
            raise ServerStopping("the server is stopping; come back in a moment")
        if not self.limit:
            raise TooManyClients(
                "the server has no thread to spare for a stream; its log says why"
            )
        counted = counted_address(address) if self.per_address else ""
        with self._lock:
            self._settle()
            if self._taken >= self.limit:
                raise TooManyClients(f"all {self.limit} streams of this worker are taken")
            if sink_limit and self._by_sink[sink] >= sink_limit:
                raise TooManyClients(f"all {sink_limit} streams of this sink are taken")
            if self.per_address and self._by_address[counted] >= self.per_address:
                raise TooManyClients(f"your address has all {self.per_address} streams it may")
            slot = Slot(self, sink, counted)
            self._taken += 1
            self._by_sink[sink] += 1
            self._by_address[counted] += 1
            self._unbegun[slot] = self._clock()
        return slot

    def begin(self, slot: Slot) -> bool:
        """Note that the slot's stream begins; return false where it must not.

        That is where the slot was given back, or its stream began before.
        """
        with self._lock:
            self._settle()
            return self._unbegun.pop(slot, None) is not None

    def give_back(self, slot: Slot) -> None:
        """Give a slot back; more than once does no harm.

        Takes no lock, so that a finalizer may call this at any point of any thread.
        """
        self._returned.append(slot)

    def settle(self) -> None:
        """Take back slots that were given back or not used in time; :meth:`admit` does it too."""
        with self._lock:
            self._settle()

    def _settle(self) -> None:
        while self._returned:
            self._release(self._returned.popleft())
        overdue = self._clock() - self.begin_seconds
        while self._unbegun:
            slot, since = next(iter(self._unbegun.items()))
            if since > overdue:
                break
            self._release(slot)
            if not self._warned:
                self._warned = True
                _log.warning(
                    "a stream was admitted and nobody asked for its first bytes within %g s, so "
                    "its place is free again: something else was answered in its stead",
                    self.begin_seconds,
                )

    def _release(self, slot: Slot) -> None:
        if not slot.held:
            return
        slot.held = False
        self._unbegun.pop(slot, None)
        self._taken -= 1
        for counter, key in ((self._by_sink, slot.sink), (self._by_address, slot.address)):
            counter[key] -= 1
            if not counter[key]:
                del counter[key]


class Slot:
    """A stream's permission to hold a thread, until :meth:`give_back`.

    As a context manager it is given back at the end of the block if that raises.
    """

    __slots__ = ("_admission", "address", "held", "sink")

    def __init__(self, admission: Admission, sink: str, address: str) -> None:
        self._admission = admission
        self.sink = sink
        self.address = address
        self.held = True

    def begin(self) -> bool:
        """Return whether the stream may begin: once, unless the slot was given back."""
        return self._admission.begin(self)

    def give_back(self) -> None:
        """Give the slot back. Any thread may call this, a finalizer too, more than once."""
        self._admission.give_back(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.give_back()
