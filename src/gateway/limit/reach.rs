//! Whether Redis is worth asking just now.
//!
//! One call without an answer is enough to leave it alone for a while: every further one would cost a
//! caller the same wait. Then one caller tries, and only that one's success brings the others back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Clock;
use crate::gateway::limit::metrics::{Metrics, Share};

/// How long it is left alone. A caller a second may wait in vain.
const TRY_EVERY: Duration = Duration::from_secs(1);

/// Leave to ask.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leave {
    /// As always.
    Usual,
    /// To find out whether it is back.
    Trial,
}

/// What this replica knows about it.
#[derive(Debug)]
pub(crate) struct Reach {
    away: AtomicBool,
    /// In nanoseconds of the clock.
    next_trial: AtomicU64,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
}

impl Reach {
    /// Redis is taken to be there until it is not.
    pub(crate) fn new(clock: Arc<dyn Clock>, metrics: Metrics) -> Self {
        Self { away: AtomicBool::new(false), next_trial: AtomicU64::new(0), clock, metrics }
    }

    /// Leave to ask now, if it is worth it.
    pub(crate) fn leave(&self) -> Option<Leave> {
        if !self.away.load(Ordering::Acquire) {
            return Some(Leave::Usual);
        }
        let (now, due) = (self.now(), self.next_trial.load(Ordering::Acquire));
        let mine = now >= due
            && self
                .next_trial
                .compare_exchange(due, after(now), Ordering::AcqRel, Ordering::Relaxed)
                .is_ok();
        if mine {
            return Some(Leave::Trial);
        }
        self.metrics.count_share(Share::Spared);
        None
    }

    /// It has answered. Who asked before it went away may still be answered: that proves nothing.
    pub(crate) fn answered(&self, leave: Leave) {
        self.metrics.count_share(Share::Answered);
        if leave == Leave::Trial && self.away.swap(false, Ordering::AcqRel) {
            self.metrics.set_local(false);
            tracing::info!("Redis answers again: limits are the fleet's");
        }
    }

    /// It has not, or not in time, for the reason `why`.
    pub(crate) fn failed(&self, how: Share, why: &str) {
        self.metrics.count_share(how);
        self.next_trial.store(after(self.now()), Ordering::Release);
        if !self.away.swap(true, Ordering::AcqRel) {
            self.metrics.set_local(true);
            tracing::warn!(
                why,
                "Redis does not answer: limits are this replica's own until it does"
            );
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.clock.monotonic().as_nanos()).unwrap_or(u64::MAX)
    }
}

fn after(now: u64) -> u64 {
    now.saturating_add(TRY_EVERY.as_secs().saturating_mul(1_000_000_000))
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::clock::{ManualClock, UnixTime};

    fn reach() -> (Reach, ManualClock) {
        let clock = ManualClock::new(UnixTime::from_secs(1_700_000_000));
        let metrics = Metrics::register(&mut Registry::default());
        (Reach::new(Arc::new(clock.clone()), metrics), clock)
    }

    #[test]
    fn one_failure_spares_everybody_and_one_a_second_tries() {
        let (reach, clock) = reach();
        assert_eq!(reach.leave(), Some(Leave::Usual));
        reach.failed(Share::Late, "late");
        assert_eq!(reach.leave(), None);
        clock.advance(Duration::from_millis(999));
        assert_eq!(reach.leave(), None);
        clock.advance(Duration::from_millis(1));
        assert_eq!(reach.leave(), Some(Leave::Trial));
        assert_eq!(reach.leave(), None, "one is enough");
        reach.failed(Share::Failed, "refused");
        assert_eq!(reach.leave(), None);
        clock.advance(Duration::from_secs(1));
        assert_eq!(reach.leave(), Some(Leave::Trial));
        reach.answered(Leave::Trial);
        assert_eq!(reach.leave(), Some(Leave::Usual));
    }

    #[test]
    fn an_answer_to_what_was_asked_before_is_no_return() {
        let (reach, _clock) = reach();
        let early = reach.leave().unwrap();
        reach.failed(Share::Late, "late");
        reach.answered(early);
        assert_eq!(reach.leave(), None);
    }

    #[test]
    fn a_trial_that_never_ends_is_followed_by_another() {
        let (reach, clock) = reach();
        reach.failed(Share::Late, "late");
        for _ in 0..3 {
            clock.advance(Duration::from_secs(1));
            assert_eq!(reach.leave(), Some(Leave::Trial));
        }
    }
}
