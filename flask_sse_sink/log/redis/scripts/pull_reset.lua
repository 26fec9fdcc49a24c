-- Sets a sink's place anew: forgets its rows and batches.
--
-- KEYS: those of the sink. ARGV: the cursor.
-- Returns 1, or 0 where the sink has no place.
if redis.call('EXISTS', place) == 0 then return 0 end
redis.call('HINCRBY', place, 'generation', 1)
redis.call('HSET', place, 'cursor', ARGV[1], 'missed', '[]')
for n = 2, 9 do redis.call('DEL', KEYS[n]) end
return 1
