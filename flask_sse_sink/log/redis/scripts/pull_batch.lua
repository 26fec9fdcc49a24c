-- Returns the ids of a batch as short text, nothing where it is settled.
--
-- KEYS: those of the sink. ARGV: the batch's id.
-- Returns false where the sink never had it.
if not is_known(ARGV[1]) then return false end
local kept = batch_of(ARGV[1])
return kept and kept.ids or ''
