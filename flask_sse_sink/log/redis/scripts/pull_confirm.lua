-- Confirms a batch or a part of it.
--
-- KEYS: those of the sink. ARGV: the batch's id, 1 for all of it or 0; the ids of the part.
-- Returns how many events are confirmed by this, -1 where the sink never had the batch; and how
--   many that are confirmed are above the cursor.
if not is_known(ARGV[1]) then return {-1, 0} end
local batch = tonumber(ARGV[1])
local kept = batch_of(ARGV[1])
if not kept then return {0, 0} end
local ids, left = read_ids(kept.ids), {}
if ARGV[2] == '0' then
  local wanted, part = {}, {}
  for n = 3, #ARGV do wanted[ARGV[n]] = true end
  for _, id in ipairs(ids) do
    local list = wanted[id] and part or left
    list[#list + 1] = id
  end
  ids = part
end
local before = number('cursor')
local cursor = before
if #left == 0 and kept.after >= 0 and cursor >= kept.after then
  cursor = math.max(cursor, kept.through)
end
local count, has_rows = 0, redis.call('HLEN', rows) > 0
for _, id in ipairs(ids) do
  local row = has_rows and row_of(id) or nil
  local is_mine = tonumber(id) > before
  if row then is_mine = row.state ~= DONE and row.batch <= batch end
  if is_mine then
    count = count + 1
    settle(id, row, batch, cursor)
  end
end
if cursor > before then set_cursor(cursor) end
if #left > 0 then
  kept.ids = write_ids(left)
  put_batch(ARGV[1], kept)
else
  redis.call('HDEL', batches, ARGV[1])
  redis.call('ZREM', age, ARGV[1])
  if kept.missed > 0 then acknowledge(kept.missed) end
end
return {count, redis.call('ZCARD', done)}
