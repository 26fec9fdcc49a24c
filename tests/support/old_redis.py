"""A node of the version before indexes by entity and source, at the same Redis."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import msgspec
import redis

from flask_sse_sink.event import NewEvent, Source, encode_envelope
from flask_sse_sink.log.protocol import iso, now_us

_PREFIX = "{sse-sink}:"

# As that version had them, but for comments.
_COMMON = """
local function newest(events, about)
  local head = tonumber(redis.call('HGET', about, 'head') or '0')
  local top = redis.call('XREVRANGE', events, '+', '-', 'COUNT', 1)[1]
  if top then head = math.max(head, tonumber(string.match(top[1], '^%d+'))) end
  return head
end
local function text(id) return string.format('%.0f', id) end
"""
_APPEND = """
local events, about, sources, ids, types = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local head = newest(events, about)
local found, duplicates, numbers = {}, 0, {}
for at = 2, #ARGV, 7 do
  local stream, type = KEYS[tonumber(ARGV[at])], ARGV[at + 1]
  local name, event_id, occurred_at = ARGV[at + 2], ARGV[at + 3], ARGV[at + 4]
  local source = numbers[name] or redis.call('HGET', sources, name)
  if not source then
    source = text(redis.call('HINCRBY', about, 'sources', 1))
    redis.call('HSET', sources, name, source)
  end
  numbers[name] = source
  local key = source .. ':' .. event_id
  local id = redis.call('HGET', ids, key)
  if id then
    duplicates = duplicates + 1
  else
    head = head + 1
    id = text(head)
    local envelope = '{"id":' .. id .. ARGV[at + 5] .. source .. ARGV[at + 6]
    redis.call('XADD', events, id .. '-0',
      'e', envelope, 't', type, 'k', key, 'a', ARGV[1], 'o', occurred_at)
    redis.call('XADD', stream, id .. '-0', '', '')
    redis.call('ZADD', types, 0, type)
    redis.call('HSET', ids, key, id)
  end
  found[#found + 1] = id
end
redis.call('HSET', about, 'head', text(head))
return {duplicates, found}
"""
_PRUNE = """
local before = text(tonumber(ARGV[1]) + 1)
local count = redis.call('XTRIM', KEYS[1], 'MINID', before)
local types = tonumber(ARGV[2])
for n = 1, types do
  redis.call('XTRIM', KEYS[3 + n], 'MINID', before)
  if redis.call('XLEN', KEYS[3 + n]) == 0 then
    redis.call('DEL', KEYS[3 + n])
    redis.call('ZREM', KEYS[3], ARGV[2 + n])
  end
end
for at = 3 + types, #ARGV, 2 do
  if redis.call('HGET', KEYS[2], ARGV[at]) == ARGV[at + 1] then
    redis.call('HDEL', KEYS[2], ARGV[at])
  end
end
return count
"""


class OldNode:
    """Appends and prunes as that version did."""

    def __init__(self, url: str) -> None:
        self._db: Any = redis.Redis.from_url(url)
        self._append = self._db.register_script(_COMMON + _APPEND)
        self._prune = self._db.register_script(_COMMON + _PRUNE)

    def append(self, events: Sequence[NewEvent]) -> list[int]:
        at_us = now_us()
        types = list(dict.fromkeys(event.event_type for event in events))
        keys = [_PREFIX + name for name in ("events", "about", "sources", "ids", "types")]
        keys += [f"{_PREFIX}type:{name}" for name in types]
        values: list[str | bytes | int] = [at_us]
        for event in events:
            values += (6 + types.index(event.event_type), event.event_type, event.source)
            values += (event.event_id, event.occurred_at or "")
            new = event.as_event(0, iso(at_us), Source(0, event.source))
            name = msgspec.json.encode(event.source)
            end = b',"name":' + name + b'},"meta":' + event.meta.encode() + b"}"
            values += (
                encode_envelope(new).removeprefix(b'{"id":0').removesuffix(b"0" + end),
                end,
            )
        _, ids = self._append(keys=keys, args=values)
        return [int(id) for id in ids]

    def prune(self, count: int) -> None:
        entries = self._db.xrange(_PREFIX + "events", count=count)
        types = list(dict.fromkeys(fields[b"t"] for _, fields in entries))
        keys: list[str | bytes] = [_PREFIX + name for name in ("events", "ids", "types")]
        keys += [f"{_PREFIX}type:".encode() + name for name in types]
        ids = [int(entry.partition(b"-")[0]) for entry, _ in entries]
        values: list[bytes | int] = [ids[-1], len(types), *types]
        for id, (_, fields) in zip(ids, entries, strict=True):
            values += (fields[b"k"], id)
        self._prune(keys=keys, args=values)

    def __enter__(self) -> OldNode:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(redis.RedisError):
            self._db.close()
