-- Deletes the oldest events.
--
-- KEYS: events, ids, types, a stream for each event type that loses events.
-- ARGV: the id of the last event to delete; how many types, and their names in the order of
--   their streams; then for each event: source id and event id, as in `ids`, and its id.
-- Returns how many were deleted.
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
  -- Another prune may have been faster, and the event may have been stored again since.
  if redis.call('HGET', KEYS[2], ARGV[at]) == ARGV[at + 1] then
    redis.call('HDEL', KEYS[2], ARGV[at])
  end
end
return count
