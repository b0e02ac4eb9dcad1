-- ARGV  8 what to keep  9 the claim's nonce  10 when the server drops it
--       11 the time on the process' stop watch

local kept = look()
local mine = kept and kept.nonce == ARGV[9]
if mine and kept.kind == 'e' and kept.ends > now then return changed('done') end
if not (mine and kept.kind == 'c' and on(kept, tonumber(ARGV[11]))) then return answer('lost') end
redis.call('SET', at, ARGV[8], 'PXAT', ARGV[10])
return changed('done')
