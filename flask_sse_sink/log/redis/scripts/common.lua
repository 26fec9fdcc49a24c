-- What the scripts share.

-- Returns the highest id ever given. The stream may be ahead of the hash only where a replica
-- took over half-way; ids are never used twice.
local function newest(events, about)
  local head = tonumber(redis.call('HGET', about, 'head') or '0')
  local top = redis.call('XREVRANGE', events, '+', '-', 'COUNT', 1)[1]
  if top then head = math.max(head, tonumber(string.match(top[1], '^%d+'))) end
  return head
end

-- Returns an id as Redis takes it: all digits, no exponent.
local function text(id) return string.format('%.0f', id) end
