-- Returns where a sink is; events whose lease or delay is over become free.
--
-- KEYS: those of the sink. ARGV: the time, empty for Redis's own; how often an event is leased at
--   most, 0 for any number.
-- Returns cursor, generation, reports, how many events with a row are free, when the next one
-- becomes so (0 for none), how many have a row, and the time; or false without a place.
if redis.call('EXISTS', place) == 0 then return false end
local now = tonumber(ARGV[1])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000000 + tonumber(time[2])
end
free_due(now, tonumber(ARGV[2]))
local nearest = redis.call('ZRANGE', due, 0, 0, 'WITHSCORES')
local values = redis.call('HMGET', place, 'cursor', 'generation', 'missed')
return {
  values[1], values[2], values[3], redis.call('ZCARD', free),
  nearest[2] and text(tonumber(nearest[2])) or '0', redis.call('HLEN', rows), text(now),
}
