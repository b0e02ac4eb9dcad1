//! The list of replicas in Redis: who is there, with which keys, since when. Time is Redis' own.

use std::sync::LazyLock;

use redis::{FromRedisValue, Script, Value};

use crate::redis::{Redis, RedisError};
use crate::replicas::agreement::Member;

/// After so long without a word a replica is taken for gone, in milliseconds.
const GONE_AFTER: &str = "20000";

/// Writes one entry, forgets those who are gone, and gives back who is there: name, since when, whether that
/// is longer than `GONE_AFTER`, keys. An entry keeps its first time for as long as its keys stay the same; its
/// replica remembers it where the list was lost. An entry reads `since seen keys`.
static ANNOUNCE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local entry = '^(%d+) (%d+) (.*)$'
local since = string.format('%.0f', now)
local mine = redis.call('HGET', KEYS[1], ARGV[1])
if mine then
    local first, _, keys = string.match(mine, entry)
    if keys == ARGV[2] then since = first end
end
if tonumber(ARGV[4]) < tonumber(since) then since = ARGV[4] end
redis.call('HSET', KEYS[1], ARGV[1], since .. ' ' .. string.format('%.0f', now) .. ' ' .. ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
local all = redis.call('HGETALL', KEYS[1])
local there = {}
for i = 1, #all, 2 do
    local first, seen, keys = string.match(all[i + 1], entry)
    if first and math.abs(now - seen) <= tonumber(ARGV[3]) then
        there[#there + 1] = all[i]
        there[#there + 1] = first
        there[#there + 1] = now - first > tonumber(ARGV[3]) and '1' or '0'
        there[#there + 1] = keys
    else
        redis.call('HDEL', KEYS[1], all[i])
    end
end
return there
",
    )
});

static LEAVE: LazyLock<Script> =
    LazyLock::new(|| Script::new("return redis.call('HDEL', KEYS[1], ARGV[1])"));

/// The list.
#[derive(Debug)]
pub(crate) struct Roll {
    redis: Redis,
    key: String,
}

impl Roll {
    pub(crate) fn new(redis: Redis) -> Self {
        let key = format!("{}:v1:replicas", redis.prefix());
        Self { redis, key }
    }

    /// Says that `instance` is there with `keys`, since when as far as it was told before, and asks who else
    /// is.
    ///
    /// # Errors
    /// [`RedisError`]
    pub(crate) async fn announce(
        &self,
        instance: &str,
        keys: &str,
        since: Option<u64>,
    ) -> Result<Vec<Member>, RedisError> {
        let since = since.map_or_else(|| "inf".to_owned(), |since| since.to_string());
        let args = [instance.as_bytes(), keys.as_bytes(), GONE_AFTER.as_bytes(), since.as_bytes()];
        let answer = self.redis.run(&ANNOUNCE, &[self.key.as_bytes()], &args).await?;
        members(answer).ok_or_else(|| RedisError::Down("its list of replicas is none".to_owned()))
    }

    /// Takes `instance` off the list.
    ///
    /// # Errors
    /// [`RedisError`]
    pub(crate) async fn leave(&self, instance: &str) -> Result<(), RedisError> {
        let args = [instance.as_bytes()];
        self.redis.run(&LEAVE, &[self.key.as_bytes()], &args).await.map(|_| ())
    }
}

/// A replica whose keys cannot be read (another version's) has none that go with ours.
fn members(answer: Value) -> Option<Vec<Member>> {
    let texts = Vec::<String>::from_redis_value(answer).ok()?;
    let (entries, []) = texts.as_chunks::<4>() else { return None };
    let read = |[instance, since, seasoned, keys]: &[String; 4]| {
        let (since, keys) = (since.parse().ok()?, keys.parse().unwrap_or_default());
        Some(Member { instance: instance.clone(), since, seasoned: seasoned == "1", keys })
    };
    entries.iter().map(read).collect()
}
