-- Reads, and takes no step.
--
-- KEYS  1 the tag's history  2 an entry, or the history again where none is asked for

local about = redis.call('HMGET', KEYS[1], 'mark', 'since')
local entry = KEYS[1] ~= KEYS[2] and redis.call('GET', KEYS[2])
return {about[1], about[2], entry}
