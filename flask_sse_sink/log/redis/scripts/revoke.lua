-- Stores that a subject was revoked, or that this was taken back.
--
-- KEYS: about, revocations, their order. ARGV: subject and issuer; 1 or 0, whether it is lasting;
--   1 or 0, whether it is taken back; the time in microseconds, or nothing for now.
-- Returns the position and the time in microseconds; 0 and 0 where there is nothing to take back.
local about, revocations, order = KEYS[1], KEYS[2], KEYS[3]
local field, lasting, lifted = ARGV[1], ARGV[2], ARGV[3]
if lifted == '1' then
  local value = redis.call('HGET', revocations, field)
  if not value or string.sub(value, -2) == ':1' then return {0, 0} end
end
local at = ARGV[4]
if at == '' then
  local now = redis.call('TIME')
  at = text(tonumber(now[1]) * 1000000 + tonumber(now[2]))
end
local position = redis.call('HINCRBY', about, 'revocations', 1)
redis.call('HSET', revocations, field, at .. ':' .. lasting .. ':' .. lifted)
redis.call('ZADD', order, position, field)
return {position, at}
