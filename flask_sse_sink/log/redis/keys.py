"""The keys of the log in Redis, and what each holds.

Every key begins with ``{sse-sink}:``, so that a cluster keeps all of them in one slot.
"""

from __future__ import annotations

PREFIX = "{sse-sink}:"
#: The stream of events: entry ``<id>-0`` has e (envelope), t (type), k (source and event id),
#: a (microseconds since the epoch) and o (occurred_at, or nothing).
EVENTS = PREFIX + "events"
#: A hash: head (the highest id ever given), sources (the highest source's id), identity, schema;
#: and indexed_from and indexed_to: the events above the one and up to the other are indexed by
#: entity and by source. A node of an older version doesn't index what it stores.
ABOUT = PREFIX + "about"
#: A hash: a source's name to its id.
SOURCES = PREFIX + "sources"
#: A hash: source id, a colon and event id, to the id of the event that is kept.
IDS = PREFIX + "ids"
#: A sorted set of all event types that are kept, in the order of bytes.
TYPES = PREFIX + "types"
#: And one stream for each type, with nothing but the ids.
TYPE = PREFIX + "type:"
#: The same for each source, by its name.
SOURCE = PREFIX + "source:"
#: For each entity a sorted set of ids, each with itself as its score: there may be very many
#: entities, and a stream takes 4.7 kB however little it holds, such a set some 100 bytes.
ENTITY = PREFIX + "entity:"
#: A hash: subject and issuer as JSON, to when they were revoked (microseconds since the epoch),
#: whether that is lasting, and whether it was taken back. The position of the newest change
#: stands in the hash about, as revocations.
REVOCATIONS = PREFIX + "revocations"
#: A sorted set: subject and issuer as JSON, by the position of the newest change.
REVOCATION_ORDER = PREFIX + "revocation-order"
#: What a check of the log writes.
PROBE = PREFIX + "probe"

#: A hash: a pulled sink's name to its number.
PULLS = PREFIX + "pulls"
#: A hash: the number of a pulled sink that was forgotten, to how many batches it had.
PULLS_FREE = PREFIX + "pulls:free"
#: And for each pulled sink, with its name: a hash with number, cursor, generation, batches, missed
#: (JSON: reports of what was pruned unconfirmed), last_missed and used_at.
PULL = PREFIX + "pull:"
#: After that name: a hash of the events that have a row (state, batch, attempts, until); sorted
#: sets of their ids, by the time at which they are free, else by id: those that are free, those
#: confirmed above the cursor, the dead letters, and all; a hash of batches, and their ids by the
#: time until which they are kept.
PULL_PARTS = ("rows", "due", "free", "done", "dead", "all", "batches", "age")


def pull_keys(sink: str) -> list[str]:
    """Return the keys of a pulled sink, in the order of the scripts."""
    return [PULL + sink, *(f"{PULL}{sink}:{part}" for part in PULL_PARTS)]


def id_of(entry: bytes) -> int:
    """Return the event's id, from the id of its entry in a stream."""
    return int(entry.partition(b"-")[0])
