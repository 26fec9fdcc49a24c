-- Notes that events are pruned.
--
-- KEYS: those of the sink. ARGV: the id up to which they are, 1 if those of the sink are known or
--   0, how many reports are kept; the ids of those above the cursor.
-- Returns how many were unconfirmed, -1 where nobody knows.
if redis.call('EXISTS', place) == 0 then return 0 end
local through, cursor = tonumber(ARGV[1]), number('cursor')
local lost, first, last = 0, nil, nil
local function lose(id)
  id = tonumber(id)
  lost = lost + 1
  first, last = math.min(first or id, id), math.max(last or id, id)
end
for n = 4, #ARGV do
  local id = tonumber(ARGV[n])
  if id > cursor and id <= through and redis.call('HEXISTS', rows, ARGV[n]) == 0 then
    lose(id)
  end
end
for _, id in ipairs(redis.call('ZRANGEBYSCORE', all, '-inf', ARGV[1])) do
  local row = row_of(id)
  if row.state ~= DONE then lose(id) end
  drop(id, row)
end
local unknown = ARGV[2] == '0' and cursor < through
if through > cursor then set_cursor(through) end
if unknown then
  first, last = math.min(first or cursor + 1, cursor + 1), through
end
if lost > 0 or unknown then
  local list = reports()
  local id = number('last_missed') + 1
  redis.call('HSET', place, 'last_missed', text(id))
  list[#list + 1] = {id, unknown and cjson.null or lost, first, last}
  while #list > tonumber(ARGV[3]) do
    local one, two = list[1], list[2]
    local known = one[2] ~= cjson.null and two[2] ~= cjson.null
    list[2] = {
      two[1], known and one[2] + two[2] or cjson.null,
      math.min(one[3], two[3]), math.max(one[4], two[4]),
    }
    table.remove(list, 1)
  end
  set_reports(list)
end
return unknown and -1 or lost
