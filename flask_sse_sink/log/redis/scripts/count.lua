-- Counts events of some types that have no row of a pulled sink.
--
-- KEYS: all rows by id, a stream for each event type.
-- ARGV: after, limit.
-- Returns how many, up to the limit.
local limit, total = tonumber(ARGV[2]), 0
local rows = redis.call('ZCOUNT', KEYS[1], '(' .. ARGV[1], '+inf') > 0
for n = 2, #KEYS do
  local after = ARGV[1]
  while total < limit do
    local count = math.min(1000, limit - total)
    local low = text(tonumber(after) + 1) .. '-0'
    local entries = redis.call('XRANGE', KEYS[n], low, '+', 'COUNT', count)
    for _, entry in ipairs(entries) do
      after = string.match(entry[1], '^%d+')
      if not rows or not redis.call('ZSCORE', KEYS[1], after) then total = total + 1 end
    end
    if #entries < count then break end
  end
end
return math.min(total, limit)
