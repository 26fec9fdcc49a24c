-- Stores events of another log under the ids that they have there.
--
-- KEYS: events, about, sources, ids, types, a stream for each event type.
-- ARGV: identity, head; then for each event: the place in KEYS of its type's stream, type, id,
--   time, occurred_at, envelope, source's id, source's name, event id.
-- Returns 1, or 0 where this log isn't a copy of that one.
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
