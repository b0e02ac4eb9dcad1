-- Every step begins so, and is taken only in the history that its caller believes in.
--
-- KEYS  1 the tag's history  2 the entry
-- ARGV  1 the history's mark  2 the most steps of it that the caller has heard of
--       3 the caller's process  4 the most of its own steps that it has heard of
--       5 the caller's time  6 how far that may be behind the server's  7 the run of the server that it knows

local history, at = KEYS[1], KEYS[2]
local process, now = ARGV[3], tonumber(ARGV[5])
local about = redis.call('HMGET', history, 'mark', 'steps', 'w:' .. process, 'run')
local steps, own = tonumber(about[2] or 0), tonumber(about[3] or 0)
local time = redis.call('TIME')
local here = time[1] * 1000 + math.floor(time[2] / 1000)

local function answer(word, value)
  return {word, steps, own, redis.call('DBSIZE'), value or false}
end

-- Answers that something was changed.
local function changed(word)
  steps = redis.call('HINCRBY', history, 'steps', 1)
  own = redis.call('HINCRBY', history, 'w:' .. process, 1)
  return answer(word)
end

-- What is kept: its kind (1), its end (8), its nonce (16), the rest.
local function look()
  local row = redis.call('GET', at)
  if not row then return nil end
  local ends = struct.unpack('>I8', row, 2)
  return {kind = row:sub(1, 1), ends = ends, nonce = row:sub(10, 25), rest = row:sub(26)}
end

-- Whether a claim is still on. Its end is by the stop watch of the process that claimed, which no wall
-- clock moves. For others the server drops it.
local function on(claim, watch)
  return claim.rest ~= process or claim.ends > watch
end

if about[1] ~= ARGV[1] or steps < tonumber(ARGV[2]) or own < tonumber(ARGV[4]) then
  return answer('forgot')
end
-- Another server, or this one started anew, or with what another one has sent it since, where anybody has
-- looked at that one: what it lacks may be known to others, who look first.
local run = redis.call('INFO', 'server'):match('run_id:(%w+)')
if run ~= ARGV[7] or about[4] ~= run then return answer('moved') end
if here - now > tonumber(ARGV[6]) then return answer('behind') end
