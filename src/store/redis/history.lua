-- Says which history a tag has. It begins one where there is none, where what the caller knows of it has
-- been forgotten, and where it is an older one than the caller knows of.
--
-- KEYS  1 the tag's history
-- ARGV  1 the mark that the caller believes in  2 the most steps it has heard of
--       3 its process  4 the most of its own steps it has heard of  5 its time
--       6 how far that may be ahead of the server's  7 the run of the server that it knows
--       8 when the history that it believes in began, or 0  9 the mark of a history that begins now
--       10 how long a process is remembered  11 how often it says that it is there
--       12 how long a history is remembered  13 how long others have to look at another server

local history = KEYS[1]
local process, now, apart = ARGV[3], tonumber(ARGV[5]), tonumber(ARGV[6])
local about = redis.call('HMGET', history, 'mark', 'steps', 'since', 'run', 'moved', 'latest',
  'w:' .. process, 'p:' .. process)
local steps, since = tonumber(about[2] or 0), tonumber(about[3] or 0)
local moved, latest = tonumber(about[5] or 0), tonumber(about[6] or 0)
local own, said = tonumber(about[7] or 0), tonumber(about[8] or 0)
local time = redis.call('TIME')
local here = time[1] * 1000 + math.floor(time[2] / 1000)
local run = redis.call('INFO', 'server'):match('run_id:(%w+)')
local function text(number) return string.format('%.0f', number) end

local known, believed = about[1] == ARGV[1], tonumber(ARGV[8])
local forgotten = not about[1]
  or known and (steps < tonumber(ARGV[2]) or own < tonumber(ARGV[4]))
  -- Older than what the caller knows: a copy from before has come back.
  or not known and since <= believed
  -- The clock was ahead, and may have dropped what had not ended.
  or here < latest - apart
if forgotten then
  -- What was issued before this moment by either clock belongs to what was forgotten.
  since = math.max(here, math.min(now, here + apart), believed + 1)
  redis.call('DEL', history)
  redis.call('HSET', history, 'mark', ARGV[9], 'since', text(since), 'steps', 0, 'run', run)
  steps, own, said, moved, latest = 0, 0, 0, 0, 0
elseif about[4] ~= run then
  moved = here
  redis.call('HSET', history, 'run', run, 'moved', text(moved))
end
if here - latest >= 60000 then redis.call('HSET', history, 'latest', text(here)) end

-- It came after another one: that stood here, or the caller believes in it.
if forgotten and about[1] or believed > 0 and ARGV[1] ~= redis.call('HGET', history, 'mark') then
  redis.call('HSET', history, 'follows', 1)
end

-- A process that has not been heard of for long is forgotten, or their counts would only add up. A history
-- that nobody has asked for in as long ends by itself.
if here - said >= tonumber(ARGV[11]) then
  local fields = redis.call('HGETALL', history)
  for n = 1, #fields, 2 do
    if fields[n]:sub(1, 2) == 'p:' then
      local gone = fields[n]:sub(3)
      if here - tonumber(fields[n + 1]) >= tonumber(ARGV[10]) then
        redis.call('HDEL', history, 'p:' .. gone, 'w:' .. gone)
      end
    end
  end
  redis.call('HSET', history, 'p:' .. process, text(here))
  redis.call('PEXPIRE', history, ARGV[12])
end

local wait = math.min(math.max(moved + tonumber(ARGV[13]) - here, 0), tonumber(ARGV[13]))
local kept = redis.call('HMGET', history, 'mark', 'follows')
local keys, follows = redis.call('DBSIZE'), tonumber(kept[2] or 0)
return {kept[1], text(since), follows, steps, own, text(here), keys, run, text(wait)}
