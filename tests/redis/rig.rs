//! What the tests have in common: settings, a script, and patience.

use std::path::PathBuf;
use std::time::Duration;

use hookgate::redis::{Redis, RedisError, Settings};
use redis::{Script, Value};
use tempfile::TempDir;

/// The settings for one server, with the most patience there is: other tests are busy beside this one.
pub(crate) fn settings(address: String) -> Settings {
    let timeout = "1s".to_owned().try_into().expect("a period");
    Settings { addresses: vec![address], timeout, ..Settings::default() }
}

/// Counts how often it ran with a key.
pub(crate) fn counting() -> Script {
    Script::new("return redis.call('HINCRBY', KEYS[1], 'n', 1)")
}

/// Counts one up at `key`.
pub(crate) async fn count(redis: &Redis, key: &str) -> Result<Value, RedisError> {
    let key = format!("hookgate:{key}");
    redis.run(&counting(), &[key.as_bytes()], &[]).await
}

/// Looks again and again until `met`, and leaves the runtime alone in between.
pub(crate) async fn soon(what: &str, mut met: impl AsyncFnMut() -> bool) {
    for _ in 0..3000 {
        if met().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it never came: {what}");
}

/// Waits until a call succeeds.
pub(crate) async fn answers(redis: &Redis) {
    soon("Redis answers", async || count(redis, "answers").await.is_ok()).await;
}

/// Waits until `ready` says this.
pub(crate) async fn says(redis: &Redis, part: &str) {
    let mut said = String::new();
    for _ in 0..1000 {
        said = redis.ready().err().map_or_else(String::new, |error| error.to_string());
        if said.contains(part) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it never said {part:?}; last {said:?}");
}

/// A file with this in it.
pub(crate) fn file(folder: &TempDir, name: &str, text: &str) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, text).expect("a file");
    path
}
