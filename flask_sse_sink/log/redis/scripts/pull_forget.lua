-- Removes a sink's place if it wasn't in use since a time.
--
-- KEYS: those of the sink, the sinks' numbers, the free numbers. ARGV: the time, the sink's name.
-- Returns 1 where it was removed, else 0.
if redis.call('EXISTS', place) == 0 or number('used_at') >= tonumber(ARGV[1]) then return 0 end
redis.call('HSET', KEYS[11], text(number('number')), text(number('batches')))
redis.call('HDEL', KEYS[10], ARGV[2])
for n = 1, 9 do redis.call('DEL', KEYS[n]) end
return 1
