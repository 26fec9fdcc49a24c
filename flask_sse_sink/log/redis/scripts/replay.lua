-- Reads one page of events: all of them, or those of some keys of the indexes.
--
-- KEYS: events, about, and the indexes to merge: of types, then of sources, then of entities.
-- ARGV: after, until ('+' for no bound), limit, bytes; how many indexes of types and how many of
--   sources, or -1 for both where every event is wanted.
-- Returns ids and envelopes, through, gone, the id at which the replay ends, and whether the
--   events are those of the indexes (1) or all (0).
local events, after = KEYS[1], tonumber(ARGV[1])
local limit, most = tonumber(ARGV[3]), tonumber(ARGV[4])
local types, sources = tonumber(ARGV[5]), tonumber(ARGV[6])
local head = newest(events, KEYS[2])
local last = head
if ARGV[2] ~= '+' then last = math.min(head, tonumber(ARGV[2])) end
local first = redis.call('XRANGE', events, '-', '+', 'COUNT', 1)[1]
local oldest = head + 1
if first then oldest = tonumber(string.match(first[1], '^%d+')) end
local gone = math.max(after, math.min(oldest - 1, last))
local page, size, full = {}, 0, false
local function range(key, low, high, count)
  return redis.call('XRANGE', key, text(low) .. '-0', text(high) .. '-0', 'COUNT', count)
end
local function take(entry)
  local envelope = entry[2][2]
  page[#page + 1] = {string.match(entry[1], '^%d+'), envelope}
  size = size + #envelope
  full = #page >= limit or size >= most
end
-- The id up to which this page reads.
local stop, merge = last, types >= 0
if merge and #KEYS > 2 + types then
  -- What isn't indexed by source and entity is read through.
  local from, to = indexed(KEYS[2])
  if gone < from then
    merge, stop = false, math.min(last, from)
  elseif gone < to then
    stop = math.min(last, to)
  else
    merge = false
  end
end
if merge then
  -- So many ids of each index, that many indexes together don't give far more than a page.
  local count = math.max(16, math.ceil(2 * limit / math.max(1, #KEYS - 2)))
  local wanted, seen = {}, {}
  local function want(id, place, found)
    if not seen[id] then
      seen[id] = true
      wanted[#wanted + 1] = id
    end
    -- Of an index that has more, nothing is known above the last of these.
    if place == count and found == count then stop = math.min(stop, id) end
  end
  for n = 3, #KEYS do
    if n <= 2 + types + sources then
      local entries = range(KEYS[n], gone + 1, stop, count)
      for place, entry in ipairs(entries) do
        want(tonumber(string.match(entry[1], '^%d+')), place, #entries)
      end
    else
      local members = redis.call('ZRANGEBYSCORE', KEYS[n], text(gone + 1), text(stop),
        'LIMIT', 0, count)
      for place, member in ipairs(members) do want(tonumber(member), place, #members) end
    end
  end
  table.sort(wanted)
  for _, id in ipairs(wanted) do
    if id > stop then break end
    local entry = range(events, id, id, 1)[1]
    if entry then take(entry) end
    if full then break end
  end
else
  local from = gone
  while not full and from < stop do
    local entries = range(events, from + 1, stop, 64)
    if #entries == 0 then break end
    for _, entry in ipairs(entries) do
      take(entry)
      if full then break end
      from = tonumber(string.match(entry[1], '^%d+'))
    end
  end
end
local through = math.max(gone, stop)
if full then through = tonumber(page[#page][1]) end
return {page, text(through), text(gone), text(last), merge and 1 or 0}
