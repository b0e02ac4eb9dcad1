-- ARGV  7 what to keep  8 its nonce  9 its end  10 when the server drops it  11 the keys there may be

if tonumber(ARGV[9]) <= now or tonumber(ARGV[10]) <= here then return answer('late') end
local kept = look()
if kept and kept.ends > now then
  if kept.nonce == ARGV[8] then return changed('first') end
  return answer('held', kept.rest)
end
if not kept and redis.call('DBSIZE') >= tonumber(ARGV[11]) then return answer('full') end
redis.call('SET', at, ARGV[7], 'PXAT', ARGV[10])
return changed('first')
