-- Finds the newest event that was stored before a time.
--
-- KEYS: events, about.
-- ARGV: the time.
-- Returns its id; where no event that old is kept, the newest id that was pruned, or 0.
local events = KEYS[1]
local high = newest(events, KEYS[2])
local first = redis.call('XRANGE', events, '-', '+', 'COUNT', 1)[1]
if not first then return text(high) end
local low, before = tonumber(string.match(first[1], '^%d+')) - 1, tonumber(ARGV[1])
while low < high do
  local middle = math.floor((low + high + 1) / 2)
  local entry = redis.call('XRANGE', events, text(middle) .. '-0', '+', 'COUNT', 1)[1]
  if tonumber(entry[2][8]) < before then low = middle else high = middle - 1 end
end
return text(low)
