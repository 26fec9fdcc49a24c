-- Forgets revocations, unless they were changed meanwhile.
--
-- KEYS: revocations, their order. ARGV: for each: subject and issuer, position.
-- Returns how many were forgotten.
local revocations, order = KEYS[1], KEYS[2]
local count = 0
for at = 1, #ARGV, 2 do
  local position = redis.call('ZSCORE', order, ARGV[at])
  if position and tonumber(position) == tonumber(ARGV[at + 1]) then
    redis.call('ZREM', order, ARGV[at])
    redis.call('HDEL', revocations, ARGV[at])
    count = count + 1
  end
end
return count
