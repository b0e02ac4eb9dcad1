-- The generic cell rate algorithm over several buckets in one step, on this server's clock.
--
-- A bucket is held as "stamp owed": at the time stamp (microseconds) it lacked owed nanoseconds of being full.
-- Lua counts exactly up to 2^53, which is 104 days in nanoseconds; where a bucket takes longer to fill, it is off by
-- some nanoseconds. One draw owes `every`; there is room while no more than `slack` is owed. A bucket that owes nothing
-- is no different from one that was never held, so its key ends by itself at that time.
--
-- KEYS     one for each bucket, all in one slot
-- ARGV[1]  "all": draw on every bucket or, where one has no room, on none; "each": on those that have room
-- ARGV     then for each bucket: every, slack, and "draw" or "look"
-- returns  for each bucket: nanoseconds to wait (0: there is room), how many more would pass after this one
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]

local function hold(key, owed)
  local millis = math.max(1, math.ceil(owed / 1000000))
  redis.call('SET', key, string.format('%.0f %.0f', now, owed), 'PX', string.format('%.0f', millis))
end

local draws, answer, refused = {}, {}, false
for i, key in ipairs(KEYS) do
  local every, slack = tonumber(ARGV[3 * i - 1]), tonumber(ARGV[3 * i])
  local stamp, owed = string.match(redis.call('GET', key) or '', '^(%d+) (%d+)$')
  -- More than a full bucket was never owed: who did not write it here shall not lock anybody out for long.
  stamp, owed = tonumber(stamp or now), math.min(tonumber(owed or 0), slack + every)
  if stamp > now then
    -- The clock was set back. What is owed is owed from now on, rather than until the clock is there again.
    hold(key, owed)
  else
    owed = math.max(0, owed - (now - stamp) * 1000)
  end
  if owed > slack then
    refused = true
    answer[2 * i - 1], answer[2 * i] = owed - slack, 0
  else
    answer[2 * i - 1], answer[2 * i] = 0, math.floor((slack - owed) / every)
    if ARGV[3 * i + 1] == 'draw' then
      draws[key] = owed + every
    end
  end
end
if not refused or ARGV[1] == 'each' then
  for key, owed in pairs(draws) do
    hold(key, owed)
  end
end
return answer
