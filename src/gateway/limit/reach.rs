//! Whether Redis is worth asking just now.
//!
//! One call without an answer is enough to leave it alone for a while: every further one would cost a
//! caller the same wait. Then one call tries, and only that one's success brings the others back.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::clock::Clock;
use crate::gateway::limit::metrics::{Metrics, Share};

/// How long it is left alone.
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
    /// Held while it goes or returns, so that the metric says the same as `away`.
    turning: Mutex<()>,
    /// In nanoseconds of the clock.
    next_trial: AtomicU64,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
}

impl Reach {
    /// Redis is taken to be there until it is not.
    pub(crate) fn new(clock: Arc<dyn Clock>, metrics: Metrics) -> Self {
        let (away, next_trial) = (AtomicBool::new(false), AtomicU64::new(0));
        Self { away, turning: Mutex::new(()), next_trial, clock, metrics }
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
        if leave == Leave::Trial && self.turns(false) {
            tracing::info!("Redis answers again: limits are the fleet's");
        }
    }

    /// It has not, or not in time, for the reason `why`.
    pub(crate) fn failed(&self, how: Share, why: &str) {
        self.metrics.count_share(how);
        self.next_trial.store(after(self.now()), Ordering::Release);
        if self.turns(true) {
            tracing::warn!(
                why,
                "Redis does not answer: limits are this replica's own until it does"
            );
        }
    }

    /// Whether that is news.
    fn turns(&self, away: bool) -> bool {
        let _turning = self.turning.lock().unwrap_or_else(PoisonError::into_inner);
        let news = self.away.swap(away, Ordering::AcqRel) != away;
        if news {
            self.metrics.set_local(away);
        }
        news
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
    use std::sync::atomic::AtomicU32;

    use prometheus_client::encoding::text;
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

    /// Else it may say for a whole outage that limits are the fleet's.
    #[test]
    fn the_metric_says_what_is_so_whoever_turns_it_at_once() {
        const ROUNDS: u32 = 50_000;
        let clock = Arc::new(ManualClock::new(UnixTime::from_secs(1_700_000_000)));
        let mut registry = Registry::default();
        let reach = Reach::new(clock, Metrics::register(&mut registry));
        let (begun, ended) = (AtomicU32::new(0), AtomicU32::new(0));
        let await_round = |at: &AtomicU32, round| {
            while at.load(Ordering::Acquire) < round {
                std::thread::yield_now();
            }
        };
        std::thread::scope(|scope| {
            let _returns = scope.spawn(|| {
                for round in 1..=ROUNDS {
                    await_round(&begun, round);
                    reach.answered(Leave::Trial);
                    ended.store(round, Ordering::Release);
                }
            });
            let mut wrong = Vec::new();
            for round in 1..=ROUNDS {
                begun.store(round, Ordering::Release);
                reach.failed(Share::Late, "late");
                await_round(&ended, round);
                let mut metrics = String::new();
                text::encode(&mut metrics, &registry).unwrap();
                let local = u8::from(reach.away.load(Ordering::Acquire));
                if !metrics.contains(&format!("hookgate_limit_local {local}\n")) {
                    wrong.push(round);
                }
            }
            assert!(wrong.is_empty(), "{wrong:?}");
        });
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
