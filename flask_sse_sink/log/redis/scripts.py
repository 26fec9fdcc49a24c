"""What runs inside Redis: one script for each step that must be whole or not at all.

Every key begins with ``{sse-sink}:``, so that a cluster keeps them all in one slot.
"""

from __future__ import annotations

PREFIX = "{sse-sink}:"
#: The stream of events: entry ``<id>-0`` has e (envelope), t (type), k (source and event id),
#: a (microseconds since the epoch) and o (occurred_at, or nothing).
EVENTS = PREFIX + "events"
#: A hash: head (the highest id ever given), sources (the highest source's id), identity, schema.
ABOUT = PREFIX + "about"
#: A hash: a source's name to its id.
SOURCES = PREFIX + "sources"
#: A hash: source id, a colon and event id, to the id of the event that is kept.
IDS = PREFIX + "ids"
#: A sorted set of all event types that are kept, in the order of bytes.
TYPES = PREFIX + "types"
#: And one stream for each type, with nothing but the ids.
TYPE = PREFIX + "type:"

# A stream may be ahead of the hash only where a replica took over half-way: ids never repeat.
_HEAD = """
local function newest(events, about)
  local head = tonumber(redis.call('HGET', about, 'head') or '0')
  local top = redis.call('XREVRANGE', events, '+', '-', 'COUNT', 1)[1]
  if top then head = math.max(head, tonumber(string.match(top[1], '^%d+'))) end
  return head
end
local function text(id) return string.format('%.0f', id) end
"""

# KEYS: events, about, sources, ids, types, a stream for each type.
# ARGV: the time; then for each event: which type's stream, type, source's name, event id,
# occurred_at, the envelope between event's id and source's id, and after that.
APPEND = (
    _HEAD
    + """
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
-- Though nothing was stored: whoever waits for replicas after this waits for what was there, too.
redis.call('HSET', about, 'head', text(head))
return {duplicates, found}
"""
)

# KEYS: events, about, a stream for each type wanted; with none, every event is.
# ARGV: after, until ('+' is no bound), limit, bytes.
REPLAY = (
    _HEAD
    + """
local events, after = KEYS[1], tonumber(ARGV[1])
local limit, most = tonumber(ARGV[3]), tonumber(ARGV[4])
local head = newest(events, KEYS[2])
local last = head
if ARGV[2] ~= '+' then last = math.min(head, tonumber(ARGV[2])) end
local first = redis.call('XRANGE', events, '-', '+', 'COUNT', 1)[1]
local oldest = head + 1
if first then oldest = tonumber(string.match(first[1], '^%d+')) end
local gone = math.max(after, math.min(oldest - 1, last))
local found, size, full = {}, 0, false
local function range(key, low, high, count)
  return redis.call('XRANGE', key, text(low) .. '-0', text(high) .. '-0', 'COUNT', count)
end
local function take(entry)
  local envelope = entry[2][2]
  found[#found + 1] = {string.match(entry[1], '^%d+'), envelope}
  size = size + #envelope
  full = #found >= limit or size >= most
end
if #KEYS == 2 then
  local from = gone
  while not full and from < last do
    local entries = range(events, from + 1, last, 64)
    if #entries == 0 then break end
    for _, entry in ipairs(entries) do
      take(entry)
      if full then break end
      from = tonumber(string.match(entry[1], '^%d+'))
    end
  end
else
  local wanted = {}
  for n = 3, #KEYS do
    local entries = range(KEYS[n], gone + 1, last, limit)
    for _, entry in ipairs(entries) do
      wanted[#wanted + 1] = tonumber(string.match(entry[1], '^%d+'))
    end
  end
  table.sort(wanted)
  for _, id in ipairs(wanted) do
    local entry = range(events, id, id, 1)[1]
    if entry then take(entry) end
    if full then break end
  end
end
local through = math.max(gone, last)
if full then through = tonumber(found[#found][1]) end
return {found, text(through), text(gone), text(last)}
"""
)

# KEYS: events, about. ARGV: a time. The id of the newest event stored before it.
HEAD_BEFORE = (
    _HEAD
    + """
local events = KEYS[1]
local high = newest(events, KEYS[2])
local first = redis.call('XRANGE', events, '-', '+', 'COUNT', 1)[1]
if not first then return text(high) end
local low, before = tonumber(string.match(first[1], '^%d+')) - 1, tonumber(ARGV[1])
while low < high do
  local middle = math.floor((low + high + 1) / 2)
  local entry = redis.call('XRANGE', events, text(middle) .. '-0', '+', 'COUNT', 1)[1]
  if tonumber(entry[2][8]) < before then low = middle else high = middle - 1 end
end
return text(low)
"""
)

# KEYS: events, ids, types, a stream for each type of what goes.
# ARGV: the id of the last event to go, its types in the order of their streams, their number
# in front of them; then dedupe key and id of each event.
PRUNE = """
local before = string.format('%.0f', tonumber(ARGV[1]) + 1)
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
  -- Another prune may have been faster, and the event be there anew.
  if redis.call('HGET', KEYS[2], ARGV[at]) == ARGV[at + 1] then
    redis.call('HDEL', KEYS[2], ARGV[at])
  end
end
return count
"""

# KEYS: events, about, sources, ids, types, a stream for each type.
# ARGV: identity, head; then for each event: which type's stream, type, id, time, occurred_at,
# envelope, source's id, source's name, event id. Returns 0 where it is no copy.
RESTORE = (
    _HEAD
    + """
local events, about, sources, ids, types = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local before = newest(events, about)
if before > 0 and redis.call('HGET', about, 'identity') ~= ARGV[1] then return 0 end
if #ARGV > 2 and tonumber(ARGV[5]) <= before then return 0 end
local most = tonumber(redis.call('HGET', about, 'sources') or '0')
for at = 3, #ARGV, 9 do
  local stream, type, id = KEYS[tonumber(ARGV[at])], ARGV[at + 1], ARGV[at + 2]
  local source, name = ARGV[at + 6], ARGV[at + 7]
  local key = source .. ':' .. ARGV[at + 8]
  redis.call('XADD', events, id .. '-0',
    'e', ARGV[at + 5], 't', type, 'k', key, 'a', ARGV[at + 3], 'o', ARGV[at + 4])
  redis.call('XADD', stream, id .. '-0', '', '')
  redis.call('ZADD', types, 0, type)
  redis.call('HSET', ids, key, id)
  redis.call('HSET', sources, name, source)
  most = math.max(most, tonumber(source))
end
redis.call('HSET', about, 'head', ARGV[2], 'identity', ARGV[1], 'sources', text(most))
return 1
"""
)
