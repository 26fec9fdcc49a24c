-- Repeats no reports up to an id any more.
--
-- KEYS: those of the sink. ARGV: the report's id.
-- Returns 1 where there was one, else 0.
return acknowledge(tonumber(ARGV[1])) and 1 or 0
