-- ARGV  7 what to keep  8 the claim's nonce  9 when the server drops it

local kept = look()
local mine = kept and kept.nonce == ARGV[8]
if mine and kept.kind == 'e' and kept.ends > now then return changed('done') end
if not (mine and kept.kind == 'c' and on(kept)) then return answer('lost') end
redis.call('SET', at, ARGV[7], 'PXAT', ARGV[9])
return changed('done')
