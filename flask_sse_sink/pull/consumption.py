"""One pulled sink: what its consumers extract, confirm and give back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from ..event import decode_envelope
from ..filters import Filter
from ..log import EventLog, StoredEnvelope
from ..log.deliveries import DeliveryStore
from .extraction import Extraction
from .place import Rules, SinkPlace

_MAX_LAG = 100_000


class NotGranted(Exception):
    """Somebody may not read every event of a batch, or of some dead letters.

    ``readable`` is what they may read.
    """

    def __init__(self, readable: Filter) -> None:
        super().__init__()
        self.readable = readable


class Backlog(NamedTuple):
    """How many events aren't confirmed, up to 100,000; are leased; are dead letters."""

    lag: int
    out: int
    dead: int


class Consumption:
    """The events of one sink on their way to its consumers, who confirm them.

    ``place`` is where the sink is in the log, ``extraction`` what hands out its events.
    """

    def __init__(self, log: EventLog, store: DeliveryStore, sink: str, rules: Rules) -> None:
        self._store = store
        self._sink = sink
        self._rules = rules
        self.place = SinkPlace(log, store, sink, rules)
        self.extraction = Extraction(log, store, sink, rules, self.place)

    def confirm(
        self, batch: int, ids: Iterable[int] | None = None, readable: Filter | None = None
    ) -> int:
        """Confirm a batch, or these of its events; return how many are confirmed by this.

        ``readable`` is what somebody may read, None for everything.

        :raises UnknownBatch: the sink never had such a batch.
        :raises NotGranted: they may not read all of its events; none was confirmed.
        :raises LogUnavailable: the log is away; none was confirmed.
        """
        self._check_granted(batch, readable)
        count, is_above = self._store.confirm(self._sink, batch, ids)
        if is_above:
            self.place.advance()
        return count

    def extend(self, batch: int, lease_us: int, readable: Filter | None = None) -> tuple[int, int]:
        """Lease a batch for so long from now; return how many events, and until when.

        Raises what :meth:`confirm` does.
        """
        self._check_granted(batch, readable)
        until_us = self._store.now_us() + lease_us
        return self._store.extend(self._sink, batch, until_us), until_us

    def release(self, batch: int, delay_us: int = 0, readable: Filter | None = None) -> int:
        """Give a batch back, free after the delay; return how many events were leased.

        Raises what :meth:`confirm` does.
        """
        self._check_granted(batch, readable)
        until_us = self._store.now_us() + delay_us
        return self._store.release(self._sink, batch, until_us, self._rules.max_attempts)

    def dead(
        self, after: int, limit: int, readable: Filter | None = None
    ) -> list[tuple[StoredEnvelope, int]]:
        """Return dead letters above an id that may be read, with their attempts."""
        # Those whose last lease has run out become dead letters now.
        self.place.get()
        letters: list[tuple[StoredEnvelope, int]] = []
        while len(letters) < limit:
            rows = self._store.dead(self._sink, after, limit)
            if not rows:
                break
            after = rows[-1][0]
            attempts = dict(rows)
            for stored in self._store.envelopes(list(attempts)):
                if readable is None or readable.matches(decode_envelope(stored[1])):
                    letters.append((stored, attempts[stored[0]]))
        return letters[:limit]

    def retry(self, ids: Sequence[int] | None = None, readable: Filter | None = None) -> int:
        """Free these dead letters, or all that may be read; return how many those are.

        :raises NotGranted: they may not read all of these.
        """
        self.place.get()
        if readable is not None:
            if ids is None:
                ids = [stored[0] for stored, _ in self.dead(0, 2**31, readable)]
            else:
                self._check_readable(sorted(ids), readable)
        return self._store.retry(self._sink, ids)

    def acknowledge(self, missed: int) -> bool:
        """Repeat no report up to this id any more; return whether there was one."""
        return self._store.acknowledge(self._sink, missed)

    def backlog(self) -> Backlog:
        """Return how far the consumers are behind."""
        place = self.place.get()
        status = next((each for each in self._store.status() if each.name == self._sink), None)
        out, waiting, dead = (status.out, status.waiting, status.dead) if status else (0, 0, 0)
        fresh = self.extraction.count_fresh(place, _MAX_LAG)
        return Backlog(min(_MAX_LAG, fresh + out + waiting), out, dead)

    def _check_granted(self, batch: int, readable: Filter | None) -> None:
        ids = self._store.batch_ids(self._sink, batch) if readable is not None else []
        if readable is not None:
            self._check_readable(ids, readable)

    def _check_readable(self, ids: Sequence[int], readable: Filter) -> None:
        for _, envelope in self._store.envelopes(ids):
            if not readable.matches(decode_envelope(envelope)):
                raise NotGranted(readable)
