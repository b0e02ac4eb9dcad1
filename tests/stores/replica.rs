//! A process as Redis sees it: a store with connections of its own, and a clock that is wrong.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hookgate::clock::{Clock, Sleep, SystemClock, UnixTime};
use hookgate::redis::Settings;
use hookgate::store::redis::RedisStore;
use hookgate::store::{Incarnation, Insert, Nonce, Store, StoreError};

use crate::backends::{key, open_redis, value};

/// How far the clocks of processes may be from Redis': near the most that is borne.
pub(crate) const WRONG: i64 = 120;

/// The machine's clock, wrong by some seconds, and with a stop watch that can be turned on.
#[derive(Clone, Debug)]
pub(crate) struct WrongClock {
    real: SystemClock,
    ahead: i64,
    turned: Arc<AtomicU64>,
}

impl Clock for WrongClock {
    fn now(&self) -> UnixTime {
        let by = Duration::from_secs(self.ahead.unsigned_abs());
        let real = self.real.now();
        if self.ahead < 0 { real.minus(by) } else { real.plus(by) }
    }

    fn monotonic(&self) -> Duration {
        self.real.monotonic() + Duration::from_secs(self.turned.load(Ordering::Relaxed))
    }

    fn sleep(&self, duration: Duration) -> Sleep<'_> {
        self.real.sleep(duration)
    }
}

/// A process.
#[derive(Clone)]
pub(crate) struct Replica {
    pub(crate) store: Arc<RedisStore>,
    clock: WrongClock,
}

impl Replica {
    /// One whose clock is so many seconds ahead.
    pub(crate) fn new(redis: &Settings, ahead: i64) -> Self {
        let clock = WrongClock { real: SystemClock::new(), ahead, turned: Arc::default() };
        let store = Arc::new(open_redis(redis, 1_000_000, Arc::new(clock.clone())));
        Self { store, clock }
    }

    /// The same, once Redis answers it.
    pub(crate) async fn ready(redis: &Settings, ahead: i64) -> Self {
        let replica = Self::new(redis, ahead);
        soon("it is ready", async || replica.store.ready().await.is_ok()).await;
        replica
    }

    /// So many seconds from now, by its own clock.
    pub(crate) fn later(&self, secs: u64) -> UnixTime {
        self.clock.now().plus(Duration::from_secs(secs))
    }

    /// The pause after a forgetting is over.
    pub(crate) fn end_pause(&self) {
        self.turn(5);
    }

    /// So many seconds pass on its stop watch.
    pub(crate) fn turn(&self, secs: u64) {
        self.clock.turned.fetch_add(secs, Ordering::Relaxed);
    }

    /// Spends the key `n`.
    pub(crate) async fn insert(
        &self,
        n: u64,
        by: Nonce,
        until: UnixTime,
    ) -> Result<Insert, StoreError> {
        self.store.insert(key(n), by, value(n), until).await
    }

    /// Waits until the store answers, whatever it says.
    pub(crate) async fn reached(&self) {
        soon("Redis answers", async || {
            !matches!(self.store.ready().await, Err(StoreError::Down(_)))
        })
        .await;
    }

    pub(crate) fn incarnation(&self) -> Incarnation {
        self.store.incarnation().unwrap()
    }
}

/// Asks again and again until there is an answer; the same nonce finds out.
pub(crate) async fn answered<T>(mut ask: impl AsyncFnMut() -> Result<T, StoreError>) -> T {
    for _ in 0..1000 {
        match ask().await {
            Ok(answer) => return answer,
            Err(StoreError::Down(_)) => tokio::time::sleep(Duration::from_millis(20)).await,
            Err(error) => panic!("{error}"),
        }
    }
    panic!("there never was an answer");
}

/// Looks again and again until `met`.
pub(crate) async fn soon(what: &str, mut met: impl AsyncFnMut() -> bool) {
    for _ in 0..1000 {
        if met().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it never came: {what}");
}
