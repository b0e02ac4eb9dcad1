//! Where the time comes from.
//!
//! Everything that decides by time asks a [`Clock`], so that a test can set it back to 2011 or let
//! an hour pass without waiting. Deadlines on sockets are tokio's business and are not decided here.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Serialize, Serializer};
use tokio::sync::watch;

/// A moment on the wall clock: milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UnixTime(u64);

impl UnixTime {
    /// The moment `millis` milliseconds after the epoch.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// The moment `secs` seconds after the epoch; the far future where that does not fit.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs.saturating_mul(1000))
    }

    /// Milliseconds since the epoch.
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// Whole seconds since the epoch, rounded down.
    pub const fn secs(self) -> u64 {
        self.0 / 1000
    }

    /// This moment moved into the future.
    #[must_use]
    pub fn plus(self, by: Duration) -> Self {
        Self(self.0.saturating_add(saturating_millis(by)))
    }

    /// This moment moved into the past, not beyond the epoch.
    #[must_use]
    pub fn minus(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(saturating_millis(by)))
    }

    /// How long ago `earlier` was; zero where it was not.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// The same moment for interfaces that want the standard library's type.
    pub fn to_system_time(self) -> SystemTime {
        UNIX_EPOCH.checked_add(Duration::from_millis(self.0)).unwrap_or(UNIX_EPOCH)
    }
}

/// RFC 3339 in UTC with whole seconds, rounded down: `2026-11-23T18:14:27Z`.
impl fmt::Display for UnixTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let secs = i64::try_from(self.secs()).unwrap_or(i64::MAX);
        let moment = jiff::Timestamp::from_second(secs).unwrap_or(jiff::Timestamp::MAX);
        write!(f, "{moment}")
    }
}

/// As text, for programs that read it.
impl Serialize for UnixTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

fn saturating_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// What [`Clock::sleep`] returns.
pub type Sleep<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// The time of day, a stop watch, and a way to wait.
pub trait Clock: Send + Sync + fmt::Debug + 'static {
    /// The wall clock. It may be set back by an administrator.
    fn now(&self) -> UnixTime;
    /// Time since this clock was made. It never goes back.
    fn monotonic(&self) -> Duration;
    /// Waits until `duration` has passed on the monotonic clock.
    fn sleep(&self, duration: Duration) -> Sleep<'_>;
}

/// The machine's clock.
#[derive(Clone, Debug)]
pub struct SystemClock {
    start: Instant,
}

impl SystemClock {
    /// A clock whose stop watch starts now.
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    pub fn new() -> Self {
        Self { start: Instant::now() }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the machine's clock")]
    fn now(&self) -> UnixTime {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixTime(saturating_millis(since))
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn sleep(&self, duration: Duration) -> Sleep<'_> {
        Box::pin(tokio::time::sleep(duration))
    }
}

/// A clock that stands still until it is told to move. Clones share one time.
#[derive(Clone, Debug)]
pub struct ManualClock {
    state: Arc<watch::Sender<(UnixTime, Duration)>>,
}

impl ManualClock {
    /// A clock that shows `now`.
    pub fn new(now: UnixTime) -> Self {
        Self { state: Arc::new(watch::Sender::new((now, Duration::ZERO))) }
    }

    /// Lets `by` pass, and wakes whoever waited for it.
    pub fn advance(&self, by: Duration) {
        self.state.send_modify(|(wall, mono)| {
            *wall = wall.plus(by);
            *mono = mono.saturating_add(by);
        });
    }

    /// Sets the wall clock, also back; the monotonic clock stays.
    pub fn set(&self, now: UnixTime) {
        self.state.send_modify(|(wall, _)| *wall = now);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> UnixTime {
        self.state.borrow().0
    }

    fn monotonic(&self) -> Duration {
        self.state.borrow().1
    }

    fn sleep(&self, duration: Duration) -> Sleep<'_> {
        let until = self.monotonic().saturating_add(duration);
        let mut changes = self.state.subscribe();
        Box::pin(async move {
            // The sender lives in `self`, which this future borrows: the wait cannot fail.
            let _ = changes.wait_for(|(_, mono)| *mono >= until).await;
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_rfc_3339() {
        assert_eq!(UnixTime::from_millis(1_795_458_491_999).to_string(), "2026-11-23T18:28:11Z");
    }

    #[tokio::test]
    async fn a_manual_sleep_ends_when_the_time_has_come_and_not_before() {
        let clock = ManualClock::new(UnixTime::from_secs(1000));
        let other = clock.clone();
        let waiting = tokio::spawn(async move { other.sleep(Duration::from_secs(60)).await });
        tokio::task::yield_now().await;
        clock.advance(Duration::from_secs(59));
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        clock.advance(Duration::from_secs(1));
        waiting.await.unwrap();
        assert_eq!(clock.now(), UnixTime::from_secs(1060));
    }

    #[test]
    fn setting_the_wall_clock_back_leaves_the_stop_watch() {
        let clock = ManualClock::new(UnixTime::from_secs(1000));
        clock.advance(Duration::from_secs(5));
        clock.set(UnixTime::from_secs(10));
        assert_eq!(clock.now().secs(), 10);
        assert_eq!(clock.monotonic(), Duration::from_secs(5));
    }
}
