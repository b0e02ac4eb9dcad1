-- ARGV  8 what to keep  9 its nonce  10 its end  11 when the server drops it  12 the keys there may be

if tonumber(ARGV[10]) <= now or tonumber(ARGV[11]) <= here then return answer('late') end
local kept = look()
if kept and kept.ends > now then
  if kept.nonce == ARGV[9] then
    -- Written again, for the replicas that are waited for; in any memory.
    redis.call('PEXPIREAT', at, ARGV[11])
    return answer('first')
  end
  return answer('held', kept.rest)
end
if not kept and redis.call('DBSIZE') >= tonumber(ARGV[12]) then return answer('full') end
redis.call('SET', at, ARGV[8], 'PXAT', ARGV[11])
return changed('first')
