//! How the calls of the last minutes went at one address.

use std::time::Duration;

use crate::clock::UnixTime;
use crate::gateway::upstream::rolling::Rolling;

/// Upper bounds of what is told apart, in milliseconds; what took longer is in the last.
const BOUNDS: [u16; 24] = [
    1, 2, 3, 5, 7, 10, 15, 20, 30, 50, 75, 100, 150, 200, 300, 500, 750, 1000, 1500, 2000, 3000,
    5000, 10_000, 60_000,
];
const SLOT: Duration = Duration::from_secs(10);
/// Five minutes of slots.
const SLOTS: usize = 30;
/// One minute of them.
const A_MINUTE: usize = 6;

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    calls: u32,
    failures: u32,
    answers: [u32; BOUNDS.len()],
}

/// Counts and times, in bounded memory.
#[derive(Debug)]
pub(crate) struct Recent {
    slots: Rolling<Slot, SLOTS>,
    last_error: Option<(UnixTime, &'static str)>,
}

/// What can be said about them.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Digest {
    pub(crate) p50: Option<Duration>,
    pub(crate) p95: Option<Duration>,
    pub(crate) calls: u64,
    pub(crate) failures: u64,
    pub(crate) last_error: Option<(UnixTime, &'static str)>,
}

impl Recent {
    pub(crate) fn new() -> Self {
        Self { slots: Rolling::new(SLOT), last_error: None }
    }

    /// An answer came.
    pub(crate) fn answered(&mut self, now: Duration, took: Duration) {
        let bucket = BOUNDS.partition_point(|bound| took > Duration::from_millis((*bound).into()));
        self.slots.note(now, |slot| {
            slot.calls = slot.calls.saturating_add(1);
            if let Some(count) = slot.answers.get_mut(bucket.min(BOUNDS.len() - 1)) {
                *count = count.saturating_add(1);
            }
        });
    }

    /// A call failed: no answer came, or one that counts as none.
    pub(crate) fn failed(&mut self, now: Duration, at: UnixTime, what: &'static str) {
        self.slots.note(now, |slot| {
            slot.calls = slot.calls.saturating_add(1);
            slot.failures = slot.failures.saturating_add(1);
        });
        self.last_error = Some((at, what));
    }

    pub(crate) fn digest(&mut self, now: Duration) -> Digest {
        let (mut calls, mut failures) = (0_u64, 0_u64);
        for slot in self.slots.newest(now, SLOTS) {
            calls = calls.saturating_add(slot.calls.into());
            failures = failures.saturating_add(slot.failures.into());
        }
        let mut answers = [0_u64; BOUNDS.len()];
        for slot in self.slots.newest(now, A_MINUTE) {
            for (sum, count) in answers.iter_mut().zip(slot.answers) {
                *sum = sum.saturating_add(count.into());
            }
        }
        let last_error = self.last_error;
        Digest {
            p50: quantile(&answers, 50),
            p95: quantile(&answers, 95),
            calls,
            failures,
            last_error,
        }
    }
}

/// The bound below which `percent` of all answers lie.
fn quantile(answers: &[u64], percent: u64) -> Option<Duration> {
    let all: u64 = answers.iter().sum();
    let rank = all.saturating_mul(percent).div_ceil(100);
    let mut below = 0_u64;
    let (bound, _) = BOUNDS.iter().zip(answers).find(|(_, count)| {
        below = below.saturating_add(**count);
        below >= rank
    })?;
    (all > 0).then(|| Duration::from_millis((*bound).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_last_minute_and_counts_of_the_last_five() {
        let at = Duration::from_secs;
        let mut recent = Recent::new();
        let empty = recent.digest(at(0));
        assert_eq!((empty.p50, empty.p95, empty.calls), (None, None, 0));
        for ms in 1..=100 {
            recent.answered(at(5), Duration::from_millis(ms));
        }
        recent.answered(at(5), Duration::from_secs(3600));
        recent.failed(at(7), UnixTime::from_secs(7), "late_head");
        let digest = recent.digest(at(60 - 1));
        assert_eq!(digest.p50, Some(Duration::from_millis(75)));
        assert_eq!(digest.p95, Some(Duration::from_millis(100)));
        assert_eq!((digest.calls, digest.failures), (102, 1));
        let later = recent.digest(at(60));
        assert_eq!((later.p50, later.calls), (None, 102));
        let much_later = recent.digest(at(300));
        assert_eq!((much_later.calls, much_later.failures), (0, 0));
        assert_eq!(much_later.last_error, Some((UnixTime::from_secs(7), "late_head")));
    }
}
