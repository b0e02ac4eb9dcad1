//! When a client's source was asked, and whether it may be asked again.
//!
//! Calls only ever ask for a refresh; one task per client carries it out. So there is never more than
//! one fetch at a time, and however many calls ask, there is one per cool-down.

use std::time::Duration;

use tokio::sync::watch;

/// The state of one client's attempts. Times are those of the monotonic clock.
#[derive(Clone, Debug)]
struct Attempts {
    started: u64,
    finished: u64,
    asked: bool,
    ended_at: Option<Duration>,
    error: Option<&'static str>,
    due: Option<Duration>,
}

/// Asks for attempts and waits for their end.
#[derive(Debug)]
pub(super) struct Progress(watch::Sender<Attempts>);

/// What became of a wish for an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    /// The attempt with this number is under way or about to start.
    Pending(u64),
    /// There was one within the cool-down, and it succeeded or failed.
    Cooling {
        /// Whether it failed.
        failed: bool,
    },
}

impl Default for Progress {
    /// The first attempt is due at once.
    fn default() -> Self {
        Self(watch::Sender::new(Attempts {
            started: 0,
            finished: 0,
            asked: true,
            ended_at: None,
            error: None,
            due: None,
        }))
    }
}

impl Progress {
    /// Wishes for an attempt; granted where none is pending and the last ended `cooldown` ago.
    pub(super) fn ask(&self, now: Duration, cooldown: Duration) -> Asked {
        let mut answer = Asked::Cooling { failed: false };
        self.0.send_if_modified(|attempts| {
            let cold = attempts.ended_at.is_none_or(|at| now >= at.saturating_add(cooldown));
            let wake = !attempts.is_running() && !attempts.asked && cold;
            attempts.asked |= wake;
            answer = attempts.standing();
            wake
        });
        answer
    }

    /// Demands an attempt, cool-down or not, and says which one it is. One that is under way counts.
    pub(super) fn demand(&self) -> u64 {
        let mut number = 0;
        self.0.send_if_modified(|attempts| {
            let wake = !attempts.is_running() && !attempts.asked;
            attempts.asked |= wake;
            number = attempts.started.saturating_add(u64::from(!attempts.is_running()));
            wake
        });
        number
    }

    /// Waits for the end of the attempt `number`, but not for longer than `at_most`. Says whether it
    /// ended, and then whether well.
    pub(super) async fn ended(&self, number: u64, at_most: Duration) -> Option<Result<(), ()>> {
        let mut changes = self.0.subscribe();
        let over = changes.wait_for(|attempts| attempts.finished >= number);
        // A caller is kept waiting for a socket here, not for a policy: the runtime's timer.
        let attempts = tokio::time::timeout(at_most, over).await.ok()?.ok()?;
        Some(if attempts.error.is_none() { Ok(()) } else { Err(()) })
    }

    /// Waits until somebody asks.
    pub(super) async fn asked(&self) {
        let mut changes = self.0.subscribe();
        // The sender lives in `self`, which this future borrows: the wait cannot fail.
        let _ = changes.wait_for(|attempts| attempts.asked).await;
    }

    /// The task starts an attempt.
    pub(super) fn start(&self) {
        self.0.send_modify(|attempts| {
            attempts.asked = false;
            attempts.started = attempts.started.saturating_add(1);
        });
    }

    /// The task has ended it, and means to start the next at `due`.
    pub(super) fn end(&self, now: Duration, error: Option<&'static str>, due: Duration) {
        self.0.send_modify(|attempts| {
            attempts.finished = attempts.started;
            attempts.ended_at = Some(now);
            attempts.error = error;
            attempts.due = Some(due);
        });
    }

    /// Whether the latest attempt failed, and how.
    pub(super) fn error(&self) -> Option<&'static str> {
        self.0.borrow().error
    }

    /// When the next attempt is due; `None` while one is pending.
    pub(super) fn due(&self) -> Option<Duration> {
        let attempts = self.0.borrow();
        attempts.due.filter(|_| !attempts.asked && !attempts.is_running())
    }
}

impl Attempts {
    const fn is_running(&self) -> bool {
        self.started > self.finished
    }

    const fn standing(&self) -> Asked {
        if self.is_running() {
            Asked::Pending(self.started)
        } else if self.asked {
            Asked::Pending(self.started.saturating_add(1))
        } else {
            Asked::Cooling { failed: self.error.is_some() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COOLDOWN: Duration = Duration::from_secs(30);

    fn at(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[tokio::test]
    async fn one_attempt_serves_all_who_ask() {
        let progress = Progress::default();
        assert_eq!(progress.ask(at(0), COOLDOWN), Asked::Pending(1));
        progress.start();
        assert_eq!(progress.ask(at(1), COOLDOWN), Asked::Pending(1));
        assert_eq!(progress.ended(1, Duration::ZERO).await, None);
        progress.end(at(2), None, at(900));
        assert_eq!(progress.ended(1, Duration::ZERO).await, Some(Ok(())));
        assert_eq!(progress.ask(at(31), COOLDOWN), Asked::Cooling { failed: false });
        assert_eq!(progress.ask(at(32), COOLDOWN), Asked::Pending(2));
        assert_eq!(progress.ask(at(32), COOLDOWN), Asked::Pending(2));
        progress.start();
        progress.end(at(33), Some("timeout"), at(34));
        assert_eq!(progress.ended(2, Duration::ZERO).await, Some(Err(())));
        assert_eq!(progress.ask(at(62), COOLDOWN), Asked::Cooling { failed: true });
        assert_eq!(progress.ask(at(63), COOLDOWN), Asked::Pending(3));
    }

    #[test]
    fn a_demand_does_not_wait_for_the_cool_down() {
        let progress = Progress::default();
        progress.start();
        progress.end(at(1), None, at(900));
        assert_eq!(progress.due(), Some(at(900)));
        assert_eq!(progress.demand(), 2);
        assert_eq!(progress.due(), None);
        progress.start();
        assert_eq!(progress.demand(), 2, "it is under way");
        progress.end(at(1), None, at(900));
        assert_eq!(progress.demand(), 3);
        progress.start();
        progress.end(at(1), None, at(900));
        progress.demand();
        assert_eq!(progress.ask(at(1), COOLDOWN), Asked::Pending(4));
    }
}
