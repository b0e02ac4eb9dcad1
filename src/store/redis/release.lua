-- ARGV  7 the claim's nonce

local kept = look()
if not (kept and kept.kind == 'c' and kept.nonce == ARGV[7]) then return answer('done') end
redis.call('DEL', at)
return changed('done')
