-- ARGV  8 the claim  9 its nonce  10 how long it is on  11 the keys there may be
--       12 the time on the process' stop watch

if tonumber(ARGV[10]) <= 0 then return answer('late') end
local kept = look()
if kept and kept.kind == 'e' and kept.ends > now then return answer('settled', kept.rest) end
if kept and kept.kind == 'c' and on(kept, tonumber(ARGV[12])) and kept.nonce ~= ARGV[9] then return answer('busy') end
if not kept and redis.call('DBSIZE') >= tonumber(ARGV[11]) then return answer('full') end
redis.call('SET', at, ARGV[8], 'PX', ARGV[10])
return changed('mine')
