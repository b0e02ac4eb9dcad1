//! A wait that must not last, inside a poll.

use std::pin::Pin;
use std::task::Context;
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// Runs while its owner waits, from the first poll that found nothing to do.
#[derive(Debug, Default)]
pub(crate) struct Deadline {
    since: Option<Instant>,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Deadline {
    /// Whether the wait has lasted for `limit`, or until `latest` where there is such a moment. If
    /// not, the task is woken when it has.
    pub(crate) fn is_over(
        &mut self,
        cx: &mut Context<'_>,
        limit: Duration,
        latest: Option<Instant>,
    ) -> bool {
        let since = *self.since.get_or_insert_with(Instant::now);
        let due = after(since, limit);
        let due = latest.map_or(due, |latest| latest.min(due));
        let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if sleep.deadline() != due {
            sleep.as_mut().reset(due);
        }
        sleep.as_mut().poll(cx).is_ready()
    }

    /// The wait is over: something happened.
    pub(crate) const fn rest(&mut self) {
        self.since = None;
    }
}

/// `limit` after `start`; a generation later where the limit has no end.
pub(crate) fn after(start: Instant, limit: Duration) -> Instant {
    const GENERATION: Duration = Duration::from_secs(30 * 365 * 86_400);
    start.checked_add(limit.min(GENERATION)).unwrap_or(start)
}
