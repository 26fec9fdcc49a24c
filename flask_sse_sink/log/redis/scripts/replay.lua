-- Reads one page of events.
--
-- KEYS: events, about, a stream for each event type wanted; with none, every event is wanted.
-- ARGV: after, until ('+' for no bound), limit, bytes.
-- Returns ids and envelopes, through, gone, and the id at which the replay ends.
local events, after = KEYS[1], tonumber(ARGV[1])
local limit, most = tonumber(ARGV[3]), tonumber(ARGV[4])
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
if #KEYS == 2 then
  local from = gone
  while not full and from < last do
    local entries = range(events, from + 1, last, 64)
    if #entries == 0 then break end
    for _, entry in ipairs(entries) do
      take(entry)
      if full then break end
      from = tonumber(string.match(entry[1], '^%d+'))
    end
  end
else
  local wanted = {}
  for n = 3, #KEYS do
    local entries = range(KEYS[n], gone + 1, last, limit)
    for _, entry in ipairs(entries) do
      wanted[#wanted + 1] = tonumber(string.match(entry[1], '^%d+'))
    end
  end
  table.sort(wanted)
  for _, id in ipairs(wanted) do
    local entry = range(events, id, id, 1)[1]
    if entry then take(entry) end
    if full then break end
  end
end
local through = math.max(gone, last)
if full then through = tonumber(page[#page][1]) end
return {page, text(through), text(gone), text(last)}
