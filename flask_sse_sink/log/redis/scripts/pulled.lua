-- What the scripts of pulled sinks share. Their KEYS begin with those of the sink.
local place, rows, due, free = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local done, dead, all, batches, age = KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9]
local OUT, BACK, DONE, DEAD = 1, 2, 3, 4
local MAX_SINKS = 1000

-- Returns a number of the sink's place.
local function number(name) return tonumber(redis.call('HGET', place, name) or '0') end

-- Returns an event's row, nil where it has none.
local function row_of(id)
  local row = redis.call('HGET', rows, id)
  if not row then return nil end
  local state, batch, attempts, till = string.match(row, '^(%d+) (%d+) (%d+) (%d+)$')
  return {
    state = tonumber(state), batch = tonumber(batch), attempts = tonumber(attempts),
    till = tonumber(till),
  }
end

local function leave_set(id, state)
  if state == DONE then redis.call('ZREM', done, id)
  elseif state == DEAD then redis.call('ZREM', dead, id)
  elseif redis.call('ZREM', due, id) == 0 then redis.call('ZREM', free, id) end
end

-- Removes an event's row.
local function drop(id, row)
  leave_set(id, row.state)
  redis.call('HDEL', rows, id)
  redis.call('ZREM', all, id)
end

-- Writes an event's row; `before` is the one that it had.
local function put(id, row, before)
  if before then leave_set(id, before.state) else redis.call('ZADD', all, id, id) end
  if row.state == DONE then redis.call('ZADD', done, id, id)
  elseif row.state == DEAD then redis.call('ZADD', dead, id, id)
  elseif row.till == 0 then redis.call('ZADD', free, id, id)
  else redis.call('ZADD', due, text(row.till), id) end
  redis.call('HSET', rows, id, row.state .. ' ' .. text(row.batch) .. ' ' .. row.attempts .. ' '
    .. text(row.till))
end

-- Settles an event: up to the cursor it has no row, above it one that says so.
local function settle(id, row, batch, cursor)
  if tonumber(id) > cursor then
    put(id, {state = DONE, batch = batch, attempts = 0, till = 0}, row)
  elseif row then
    drop(id, row)
  end
end

local function set_cursor(cursor)
  redis.call('HSET', place, 'cursor', text(cursor))
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', done, '-inf', text(cursor))) do
    drop(id, {state = DONE})
  end
end

-- Makes the events whose lease or delay is over free: those are found by id.
local function free_due(now, max_attempts)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', due, '-inf', text(now))) do
    local row = row_of(id)
    if max_attempts > 0 and row.attempts >= max_attempts then
      put(id, {state = DEAD, batch = row.batch, attempts = row.attempts, till = 0}, row)
    else
      redis.call('ZREM', due, id)
      redis.call('ZADD', free, id, id)
    end
  end
end

-- Returns whether an event is free.
local function is_free(id, row, cursor)
  if not row then return tonumber(id) > cursor end
  return redis.call('ZSCORE', free, id) and true or false
end

-- Returns ids, which are sorted, as short text: 1-3,7.
local function write_ids(ids)
  local runs, low, high = {}, nil, nil
  local function finish()
    if low then runs[#runs + 1] = low == high and text(low) or text(low) .. '-' .. text(high) end
  end
  for _, id in ipairs(ids) do
    id = tonumber(id)
    if high and id == high + 1 then high = id else
      finish()
      low, high = id, id
    end
  end
  finish()
  return table.concat(runs, ',')
end

-- Returns the ids of such a text.
local function read_ids(short)
  local ids = {}
  for run in string.gmatch(short, '[^,]+') do
    local low, high = string.match(run, '^(%d+)-?(%d*)$')
    for id = tonumber(low), tonumber(high == '' and low or high) do ids[#ids + 1] = text(id) end
  end
  return ids
end

-- Returns whether the sink has had this batch.
local function is_known(batch)
  batch = tonumber(batch)
  local count = math.floor(batch / MAX_SINKS)
  return redis.call('EXISTS', place) == 1 and batch % MAX_SINKS == number('number')
    and count > 0 and count <= number('batches')
end

-- Returns a batch, nil where it is settled. Its `after` is negative where confirming it doesn't
-- move the cursor.
local function batch_of(batch)
  local kept = redis.call('HGET', batches, batch)
  if not kept then return nil end
  local after, through, missed, ids = string.match(kept, '^(%-?%d+) (%d+) (%d+) (.*)$')
  return {
    after = tonumber(after), through = tonumber(through), missed = tonumber(missed), ids = ids,
  }
end

local function put_batch(batch, kept)
  redis.call('HSET', batches, batch, text(kept.after) .. ' ' .. text(kept.through) .. ' '
    .. text(kept.missed) .. ' ' .. kept.ids)
end

-- Returns the reports of what was pruned unconfirmed.
local function reports() return cjson.decode(redis.call('HGET', place, 'missed') or '[]') end

local function set_reports(list)
  redis.call('HSET', place, 'missed', #list == 0 and '[]' or cjson.encode(list))
end

-- Removes reports up to an id; returns whether there was one.
local function acknowledge(missed)
  local before, left = reports(), {}
  for _, report in ipairs(before) do
    if report[1] > missed then left[#left + 1] = report end
  end
  if #left < #before then set_reports(left) end
  return #left < #before
end
