-- Stores events of another log under the ids that they have there.
--
-- KEYS: events, about, sources, ids, types, and the index of each event type, source and entity.
-- ARGV: identity, head; then for each event: the places in KEYS of the indexes of its type, of its
--   source and of its entity (0 where it has none), type, id, time, occurred_at, envelope,
--   source's id, source's name, event id.
-- Returns 1, or 0 where this log isn't a copy of that one.
local events, about, sources, ids, types = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local before = newest(events, about)
if before > 0 and redis.call('HGET', about, 'identity') ~= ARGV[1] then return 0 end
if #ARGV > 2 and tonumber(ARGV[7]) <= before then return 0 end
local most = tonumber(redis.call('HGET', about, 'sources') or '0')
for at = 3, #ARGV, 11 do
  local by_type, by_source = KEYS[tonumber(ARGV[at])], KEYS[tonumber(ARGV[at + 1])]
  local by_entity, type, id = KEYS[tonumber(ARGV[at + 2])], ARGV[at + 3], ARGV[at + 4]
  local source, name = ARGV[at + 8], ARGV[at + 9]
  local key = source .. ':' .. ARGV[at + 10]
  redis.call('XADD', events, id .. '-0',
    'e', ARGV[at + 7], 't', type, 'k', key, 'a', ARGV[at + 5], 'o', ARGV[at + 6])
  redis.call('XADD', by_type, id .. '-0', '', '')
  redis.call('XADD', by_source, id .. '-0', '', '')
  if by_entity then redis.call('ZADD', by_entity, id, id) end
  redis.call('ZADD', types, 0, type)
  redis.call('HSET', ids, key, id)
  redis.call('HSET', sources, name, source)
  most = math.max(most, tonumber(source))
end
count_indexed(about, before, tonumber(ARGV[2]))
redis.call('HSET', about, 'head', ARGV[2], 'identity', ARGV[1], 'sources', text(most))
return 1
