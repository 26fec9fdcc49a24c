-- What the scripts share.

-- Returns the highest id ever given. The stream may be ahead of the hash only where a replica
-- took over half-way; ids are never used twice.
local function newest(events, about)
  local head = tonumber(redis.call('HGET', about, 'head') or '0')
  local top = redis.call('XREVRANGE', events, '+', '-', 'COUNT', 1)[1]
  if top then head = math.max(head, tonumber(string.match(top[1], '^%d+'))) end
  return head
end

-- Returns the range of ids that are indexed by entity and by source: those above the first, up to
-- the second. Nodes of an older version index nothing, and don't count what they store.
local function indexed(about)
  local range = redis.call('HMGET', about, 'indexed_from', 'indexed_to')
  return tonumber(range[1] or '0'), tonumber(range[2] or '0')
end

-- Returns an id as Redis takes it: all digits, no exponent.
local function text(id) return string.format('%.0f', id) end

-- Counts the events above `head` and up to `last` as indexed. The range begins anew where
-- somebody stored events up to `head` without the indexes.
local function count_indexed(about, head, last)
  local from, to = indexed(about)
  if to ~= head then redis.call('HSET', about, 'indexed_from', text(head)) end
  redis.call('HSET', about, 'indexed_to', text(last))
end
