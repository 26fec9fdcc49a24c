-- Gives a sink a place unless it has one, and notes that it was in use.
--
-- KEYS: those of the sink, the sinks' numbers, the free numbers, events, about.
-- ARGV: the sink's name, the time, its cursor if it is new: `earliest`, `latest` or an id.
-- Returns 1, or 0 where there are too many sinks.
if redis.call('EXISTS', place) == 1 then
  redis.call('HSET', place, 'used_at', ARGV[2])
  return 1
end
local sinks, unused, events, about = KEYS[10], KEYS[11], KEYS[12], KEYS[13]
local cursor = ARGV[3]
if cursor == 'latest' then
  cursor = text(newest(events, about))
elseif cursor == 'earliest' then
  local first = redis.call('XRANGE', events, '-', '+', 'COUNT', 1)[1]
  cursor = newest(events, about)
  if first then cursor = tonumber(string.match(first[1], '^%d+')) - 1 end
  cursor = text(cursor)
end
-- The number of batches goes on: the ids of a former sink's batches don't come again.
local sink, batch_count = redis.call('HKEYS', unused)[1], '0'
if sink then
  batch_count = redis.call('HGET', unused, sink)
  redis.call('HDEL', unused, sink)
else
  sink = redis.call('HLEN', sinks) + 1
  if sink >= MAX_SINKS then return 0 end
end
redis.call('HSET', sinks, ARGV[1], sink)
redis.call('HSET', place, 'number', sink, 'cursor', cursor, 'generation', ARGV[2],
  'batches', batch_count, 'missed', '[]', 'last_missed', 0, 'used_at', ARGV[2])
return 1
