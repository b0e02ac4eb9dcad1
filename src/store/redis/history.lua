-- Says which history a tag has. It begins one where there is none, and where what the caller knows of it
-- has been forgotten.
--
-- KEYS  1 the tag's history
-- ARGV  1 the mark that the caller believes in  2 the most steps it has heard of
--       3 its process  4 the most of its own steps it has heard of  5 its time
--       6 how far that may be ahead of the server's  7 the mark of a history that begins now
--       8 how long a process is remembered  9 how often it says that it is there

local history = KEYS[1]
local process, now = ARGV[3], tonumber(ARGV[5])
local about = redis.call('HMGET', history, 'mark', 'steps', 'w:' .. process, 'p:' .. process)
local steps, own, said = tonumber(about[2] or 0), tonumber(about[3] or 0), tonumber(about[4] or 0)
local time = redis.call('TIME')
local here = time[1] * 1000 + math.floor(time[2] / 1000)

local known = about[1] == ARGV[1]
if not about[1] or known and (steps < tonumber(ARGV[2]) or own < tonumber(ARGV[4])) then
  -- What was issued before this moment by either clock belongs to what was forgotten.
  local since = math.max(here, math.min(now, here + tonumber(ARGV[6])))
  redis.call('DEL', history)
  redis.call('HSET', history, 'mark', ARGV[7], 'since', string.format('%.0f', since), 'steps', 0)
  steps, own, said = 0, 0, 0
end

-- A process that has not been heard of for long is forgotten, or their counts would only add up. A history
-- that nobody has asked for in as long ends by itself.
if here - said >= tonumber(ARGV[9]) then
  local fields = redis.call('HGETALL', history)
  for n = 1, #fields, 2 do
    if fields[n]:sub(1, 2) == 'p:' then
      local gone = fields[n]:sub(3)
      if here - tonumber(fields[n + 1]) >= tonumber(ARGV[8]) then
        redis.call('HDEL', history, 'p:' .. gone, 'w:' .. gone)
      end
    end
  end
  redis.call('HSET', history, 'p:' .. process, string.format('%.0f', here))
  redis.call('PEXPIRE', history, ARGV[8])
end

local node = ''
if redis.call('INFO', 'cluster'):find('cluster_enabled:1', 1, true) then
  node = redis.call('CLUSTER', 'MYID')
end
local kept = redis.call('HMGET', history, 'mark', 'since')
return {kept[1], kept[2], steps, own, string.format('%.0f', here), redis.call('DBSIZE'), node}
