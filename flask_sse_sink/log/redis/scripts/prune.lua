-- Deletes the oldest events.
--
-- KEYS: events, ids, types, and the index of each event type, source and entity that loses events.
-- ARGV: the id of the last event to delete; how many types, sources and entities, and the names of
--   the types in the order of their indexes; then for each event: source id and event id, as in
--   `ids`, and its id.
-- Returns how many were deleted.
local last = ARGV[1]
local before = text(tonumber(last) + 1)
local count = redis.call('XTRIM', KEYS[1], 'MINID', before)
local types, sources, entities = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
for n = 1, types + sources do
  local index = KEYS[3 + n]
  redis.call('XTRIM', index, 'MINID', before)
  if redis.call('XLEN', index) == 0 then
    redis.call('DEL', index)
    if n <= types then redis.call('ZREM', KEYS[3], ARGV[4 + n]) end
  end
end
-- Redis deletes a sorted set with its last member.
for n = 1, entities do
  redis.call('ZREMRANGEBYSCORE', KEYS[3 + types + sources + n], '-inf', last)
end
for at = 5 + types, #ARGV, 2 do
  -- Another prune may have been faster, and the event may have been stored again since.
  if redis.call('HGET', KEYS[2], ARGV[at]) == ARGV[at + 1] then
    redis.call('HDEL', KEYS[2], ARGV[at])
  end
end
return count
