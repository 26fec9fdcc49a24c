-- Frees dead letters.
--
-- KEYS: those of the sink. ARGV: 1 for all of them or 0; the ids of some.
-- Returns how many.
local ids, count = ARGV, 0
if ARGV[1] == '1' then ids = redis.call('ZRANGE', dead, 0, -1) end
-- The first of ARGV is no id.
for n = ARGV[1] == '1' and 1 or 2, #ids do
  local id = ids[n]
  local row = row_of(id)
  if row and row.state == DEAD then
    put(id, {state = BACK, batch = row.batch, attempts = 0, till = 0}, row)
    count = count + 1
  end
end
return count
