-- ARGV  8 the claim's nonce

local kept = look()
if not (kept and kept.kind == 'c' and kept.nonce == ARGV[8]) then return answer('done') end
redis.call('DEL', at)
return changed('done')
