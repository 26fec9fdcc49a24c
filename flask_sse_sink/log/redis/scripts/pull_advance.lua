-- Moves the cursor, unless the place was set anew.
--
-- KEYS: those of the sink. ARGV: generation, the new cursor.
if redis.call('EXISTS', place) == 1 and number('generation') == tonumber(ARGV[1])
  and tonumber(ARGV[2]) > number('cursor') then
  set_cursor(tonumber(ARGV[2]))
end
return 0
