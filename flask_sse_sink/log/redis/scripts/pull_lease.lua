-- Lets the leases of a batch end at another time, or gives its events back.
--
-- KEYS: those of the sink. ARGV: the batch's id, `extend` or `release`, the time at which they
--   are free, now, how many attempts an event has at most (0 for any), until when the batch is kept.
-- Returns how many events that are, -1 where the sink never had the batch.
if not is_known(ARGV[1]) then return -1 end
local batch, till, now = tonumber(ARGV[1]), tonumber(ARGV[3]), tonumber(ARGV[4])
local kept, most = batch_of(ARGV[1]), tonumber(ARGV[5])
if not kept then return 0 end
local count = 0
-- A lease that was cut to nothing ends like any other: it may have been the event's last.
if till <= now and ARGV[2] == 'release' then till = 0 end
for _, id in ipairs(read_ids(kept.ids)) do
  local row = row_of(id)
  if row and row.state == OUT and row.batch == batch then
    local after = {state = OUT, batch = batch, attempts = row.attempts, till = till}
    if ARGV[2] == 'release' then
      after.state = BACK
      if most > 0 and row.attempts >= most then after.state = DEAD end
    end
    put(id, after, row)
    count = count + 1
  end
end
if count > 0 and ARGV[2] == 'extend' then redis.call('ZADD', age, ARGV[6], ARGV[1]) end
return count
