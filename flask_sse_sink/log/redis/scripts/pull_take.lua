-- Makes a batch of events that are free now, and moves the cursor as far as it can be.
--
-- KEYS: those of the sink.
-- ARGV: generation; the end of the lease, 0 for none; limit; the report's id; until when the
--   batch is kept; now; how many batches are kept; the span's after, passed and through, `after`
--   negative for none; how many expired ids there are, and those; the ids found.
-- Returns 0 where the place was set anew; else 1, the batch's id, ids and attempts.
if redis.call('EXISTS', place) == 0 or number('generation') ~= tonumber(ARGV[1]) then
  return {0}
end
local till, limit, now = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[6])
local after, passed, through = tonumber(ARGV[8]), tonumber(ARGV[9]), tonumber(ARGV[10])
local cursor, has_rows = number('cursor'), redis.call('HLEN', rows) > 0
local first = 12 + tonumber(ARGV[11])
local ids, before, attempts = {}, {}, {}
for n = first, #ARGV do
  if #ids == limit then
    passed = math.min(passed, tonumber(ARGV[n]) - 1)
    through = math.min(through, tonumber(ARGV[n]) - 1)
    break
  end
  local row = has_rows and row_of(ARGV[n]) or nil
  if is_free(ARGV[n], row, cursor) then
    ids[#ids + 1] = ARGV[n]
    before[#ids] = row or false
  end
end
local batch = '0'
if #ids > 0 then
  local count = number('batches') + 1
  redis.call('HSET', place, 'batches', text(count))
  batch = text(count * MAX_SINKS + number('number'))
  put_batch(batch, {
    after = till > 0 and -1 or after, through = through, missed = tonumber(ARGV[4]),
    ids = write_ids(ids),
  })
  redis.call('ZADD', age, ARGV[5], batch)
  local old = redis.call('ZRANGEBYSCORE', age, '-inf', text(now), 'LIMIT', 0, 100)
  local most = tonumber(ARGV[7])
  if redis.call('ZCARD', age) > most then old = redis.call('ZRANGE', age, 0, 0) end
  for _, each in ipairs(old) do
    redis.call('ZREM', age, each)
    redis.call('HDEL', batches, each)
  end
end
if till > 0 then
  for n, id in ipairs(ids) do
    attempts[n] = (before[n] and before[n].attempts or 0) + 1
    put(id, {state = OUT, batch = tonumber(batch), attempts = attempts[n], till = till},
      before[n] or nil)
  end
end
for n = 12, first - 1 do
  local row = row_of(ARGV[n])
  if row and is_free(ARGV[n], row, cursor) then settle(ARGV[n], row, 0, cursor) end
end
if after >= 0 then
  local reached = till > 0 and through or passed
  if reached > cursor then set_cursor(reached) end
end
return {1, batch, ids, attempts}
