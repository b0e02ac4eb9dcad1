-- ARGV  7 the claim  8 its nonce  9 how long it is on  10 the keys there may be

if tonumber(ARGV[9]) <= 0 then return answer('late') end
local kept = look()
if kept and kept.kind == 'e' and kept.ends > now then return answer('settled', kept.rest) end
if kept and kept.kind == 'c' and on(kept) and kept.nonce ~= ARGV[8] then return answer('busy') end
if not kept and redis.call('DBSIZE') >= tonumber(ARGV[10]) then return answer('full') end
redis.call('SET', at, ARGV[7], 'PX', ARGV[9])
return changed('mine')
