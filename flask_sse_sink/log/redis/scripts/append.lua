-- Stores a batch, gives the ids, and leaves out what is there already.
--
-- KEYS: events, about, sources, ids, types, and the index of each event type, source and entity.
-- ARGV: the time; then for each event: the places in KEYS of the indexes of its type, of its
--   source and of its entity (0 where it has none), type, source's name, event id, occurred_at,
--   the envelope between the event's id and the source's id, and the envelope after that.
-- Returns how many were duplicates, and the ids in the order sent.
local events, about, sources, ids, types = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local before = newest(events, about)
local head = before
local answered, duplicates, numbers = {}, 0, {}
for at = 2, #ARGV, 9 do
  local by_type, by_source = KEYS[tonumber(ARGV[at])], KEYS[tonumber(ARGV[at + 1])]
  local by_entity, type = KEYS[tonumber(ARGV[at + 2])], ARGV[at + 3]
  local name, event_id, occurred_at = ARGV[at + 4], ARGV[at + 5], ARGV[at + 6]
  local source = numbers[name] or redis.call('HGET', sources, name)
  if not source then
    source = text(redis.call('HINCRBY', about, 'sources', 1))
    redis.call('HSET', sources, name, source)
  end
  numbers[name] = source
  local key = source .. ':' .. event_id
  local id = redis.call('HGET', ids, key)
  if id then
    duplicates = duplicates + 1
  else
    head = head + 1
    id = text(head)
    local envelope = '{"id":' .. id .. ARGV[at + 7] .. source .. ARGV[at + 8]
    redis.call('XADD', events, id .. '-0',
      'e', envelope, 't', type, 'k', key, 'a', ARGV[1], 'o', occurred_at)
    redis.call('XADD', by_type, id .. '-0', '', '')
    redis.call('XADD', by_source, id .. '-0', '', '')
    if by_entity then redis.call('ZADD', by_entity, id, id) end
    redis.call('ZADD', types, 0, type)
    redis.call('HSET', ids, key, id)
  end
  answered[#answered + 1] = id
end
if head > before then count_indexed(about, before, head) end
-- Written even if nothing was stored: a WAIT after this then covers the repeated events, too.
redis.call('HSET', about, 'head', text(head))
return {duplicates, answered}
