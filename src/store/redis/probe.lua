-- Would this server keep a promise now? It must not drop what has not ended, and must take a write.

local memory = redis.call('INFO', 'memory')
local policy = memory:match('maxmemory_policy:(%S+)')
if memory:match('maxmemory:(%d+)') ~= '0' and policy ~= 'noeviction' then
  return answer('evicts', policy)
end
redis.call('HINCRBY', history, 'steps', 0)
return answer('sound')
