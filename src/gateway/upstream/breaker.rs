//! Whether an address gets calls, by how the last ones went.
//!
//! Closed, calls go through and failures are counted. Enough of them open it: for a pause nobody is sent
//! there to wait. After the pause exactly one call goes through; how it ends closes the breaker, or opens
//! it for longer. What a call says that began before the last change is not heeded.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

use crate::entropy::{Entropy, draw};
use crate::gateway::upstream::rolling::Rolling;
use crate::gateway::upstream::settings::Breaker as Settings;

/// Slots of the window in which the share of failures is counted.
const SLOTS: usize = 10;

/// What a call said about the address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It answers.
    Passed,
    /// It does not, or says that it cannot.
    Failed,
    /// Nothing.
    Neutral,
}

/// Leave to make a call, and under which state of things it was given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ticket(u64);

/// Whether a call may be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// Yes.
    Free(Ticket),
    /// One call, to try: whoever begins it is the only one.
    Due,
    /// Not for that long; zero while a call tries.
    Shut(Duration),
}

/// Where the breaker went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Opened,
    Closed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Closed,
    /// Until then, on the stop watch.
    Open(Duration),
    HalfOpen,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    calls: u32,
    failures: u32,
}

/// The breaker of one address.
#[derive(Debug)]
pub(crate) struct Breaker {
    rules: Settings,
    phase: Phase,
    /// Goes up with each change of phase.
    epoch: u64,
    in_a_row: u32,
    counts: Rolling<Counts, SLOTS>,
    /// The next pauses, from the first failure until it closes.
    pauses: Option<ExponentialBackoff>,
}

impl Breaker {
    /// Closed.
    pub(crate) fn new(rules: &Settings) -> Self {
        let slots = u32::try_from(SLOTS).unwrap_or(1);
        Self {
            rules: rules.clone(),
            phase: Phase::Closed,
            epoch: 0,
            in_a_row: 0,
            counts: Rolling::new(rules.window.get() / slots),
            pauses: None,
        }
    }

    pub(crate) const fn phase(&self) -> Phase {
        self.phase
    }

    /// Whether a call may be made now.
    pub(crate) fn admission(&self, now: Duration) -> Admission {
        match self.phase {
            Phase::Closed => Admission::Free(Ticket(self.epoch)),
            Phase::Open(until) if until <= now => Admission::Due,
            Phase::Open(until) => Admission::Shut(until.saturating_sub(now)),
            Phase::HalfOpen => Admission::Shut(Duration::ZERO),
        }
    }

    /// Begins the one call that tries, where it is due.
    pub(crate) fn begin_trial(&mut self, now: Duration) -> Option<Ticket> {
        (self.admission(now) == Admission::Due).then(|| {
            self.enter(Phase::HalfOpen);
            Ticket(self.epoch)
        })
    }

    /// A call that was let through has ended.
    pub(crate) fn finish(
        &mut self,
        ticket: Ticket,
        verdict: Verdict,
        now: Duration,
        entropy: &dyn Entropy,
    ) -> Option<Change> {
        if ticket != Ticket(self.epoch) {
            return None;
        }
        match (self.phase, verdict) {
            (Phase::HalfOpen, Verdict::Passed) => {
                self.enter(Phase::Closed);
                self.pauses = None;
                self.in_a_row = 0;
                self.counts.clear();
                Some(Change::Closed)
            }
            (Phase::HalfOpen, Verdict::Failed) => Some(self.open(now, entropy)),
            // It told nothing: the next caller tries.
            (Phase::HalfOpen, Verdict::Neutral) => {
                self.enter(Phase::Open(now));
                Some(Change::Opened)
            }
            (Phase::Closed, Verdict::Passed) => {
                self.in_a_row = 0;
                self.count(now, false);
                None
            }
            (Phase::Closed, Verdict::Failed) => {
                self.in_a_row = self.in_a_row.saturating_add(1);
                self.count(now, true);
                self.is_too_much(now).then(|| self.open(now, entropy))
            }
            (Phase::Closed, Verdict::Neutral) | (Phase::Open(_), _) => None,
        }
    }

    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.epoch = self.epoch.wrapping_add(1);
    }

    fn open(&mut self, now: Duration, entropy: &dyn Entropy) -> Change {
        let (first, longest) = (self.rules.pause.get(), self.rules.max_pause.get());
        let pauses = self.pauses.get_or_insert_with(|| {
            // Jitter is no secret: without randomness a pause is as good as any other.
            let seed = draw::<8>(entropy).map_or(0, u64::from_be_bytes);
            ExponentialBuilder::new()
                .with_min_delay(first)
                .with_max_delay(longest)
                .with_factor(2.0)
                .without_max_times()
                .with_jitter()
                .with_jitter_seed(seed)
                .build()
        });
        let pause = pauses.next().unwrap_or(longest);
        self.enter(Phase::Open(now.saturating_add(pause)));
        Change::Opened
    }

    fn count(&mut self, now: Duration, failed: bool) {
        if self.rules.failure_percent.is_none() {
            return;
        }
        self.counts.note(now, |counts| {
            counts.calls = counts.calls.saturating_add(1);
            counts.failures = counts.failures.saturating_add(u32::from(failed));
        });
    }

    fn is_too_much(&mut self, now: Duration) -> bool {
        if self.rules.failures > 0 && self.in_a_row >= self.rules.failures {
            return true;
        }
        let Some(percent) = self.rules.failure_percent else { return false };
        let (mut calls, mut failures) = (0_u64, 0_u64);
        for counts in self.counts.newest(now, SLOTS) {
            calls = calls.saturating_add(counts.calls.into());
            failures = failures.saturating_add(counts.failures.into());
        }
        calls >= self.rules.min_calls.into()
            && failures.saturating_mul(100) >= calls.saturating_mul(percent.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SeededEntropy;
    use crate::units::Period;

    static ENTROPY: SeededEntropy = SeededEntropy::new(1);

    fn at(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    fn breaker(failures: u32, percent: Option<u8>) -> Breaker {
        let rules = Settings {
            failures,
            failure_percent: percent,
            min_calls: 4,
            window: Period::secs(10),
            pause: Period::secs(1),
            max_pause: Period::secs(4),
            ..Settings::default()
        };
        Breaker::new(&rules)
    }

    fn free(breaker: &Breaker, now: u64) -> Ticket {
        let Admission::Free(ticket) = breaker.admission(at(now)) else { panic!("{breaker:?}") };
        ticket
    }

    fn call(breaker: &mut Breaker, now: u64, verdict: Verdict) -> Option<Change> {
        let ticket = free(breaker, now);
        breaker.finish(ticket, verdict, at(now), &ENTROPY)
    }

    /// How long it stays shut from `now` on.
    fn shut(breaker: &Breaker, now: Duration) -> Duration {
        let Admission::Shut(pause) = breaker.admission(now) else { panic!("{breaker:?}") };
        pause
    }

    #[test]
    fn only_failures_in_a_row_open_it() {
        let mut breaker = breaker(3, None);
        for verdict in [Verdict::Failed, Verdict::Failed, Verdict::Passed, Verdict::Failed] {
            assert_eq!(call(&mut breaker, 0, verdict), None);
        }
        assert_eq!(call(&mut breaker, 0, Verdict::Neutral), None);
        assert_eq!(call(&mut breaker, 0, Verdict::Failed), None);
        assert_eq!(call(&mut breaker, 0, Verdict::Failed), Some(Change::Opened));
        let pause = shut(&breaker, at(0));
        assert!((at(1)..=at(2)).contains(&pause), "{pause:?}");
    }

    #[test]
    fn one_call_tries_and_the_pauses_grow_until_one_passes() {
        let mut breaker = breaker(1, None);
        let mut now = at(0);
        assert_eq!(call(&mut breaker, 0, Verdict::Failed), Some(Change::Opened));
        for longest in [1, 2, 4, 4, 4] {
            let pause = shut(&breaker, now);
            assert!((at(longest)..=at(2 * longest)).contains(&pause), "{pause:?}");
            assert_eq!(breaker.begin_trial(now), None, "not yet");
            now += pause;
            assert_eq!(breaker.admission(now), Admission::Due);
            let trial = breaker.begin_trial(now).unwrap();
            assert_eq!(breaker.begin_trial(now), None, "there is one");
            assert_eq!(breaker.admission(now), Admission::Shut(Duration::ZERO));
            let change = breaker.finish(trial, Verdict::Failed, now, &ENTROPY);
            assert_eq!(change, Some(Change::Opened));
        }
        now += at(8);
        let trial = breaker.begin_trial(now).unwrap();
        assert_eq!(breaker.finish(trial, Verdict::Passed, now, &ENTROPY), Some(Change::Closed));
        assert_eq!(call(&mut breaker, now.as_secs(), Verdict::Failed), Some(Change::Opened));
        assert!(shut(&breaker, now) <= at(2), "it begins anew");
    }

    #[test]
    fn a_trial_that_told_nothing_leaves_it_to_the_next() {
        let mut breaker = breaker(1, None);
        call(&mut breaker, 0, Verdict::Failed);
        let trial = breaker.begin_trial(at(2)).unwrap();
        breaker.finish(trial, Verdict::Neutral, at(2), &ENTROPY);
        assert_eq!(breaker.admission(at(2)), Admission::Due);
        let next = breaker.begin_trial(at(2)).unwrap();
        // The first one speaks again, and is not heard.
        assert_eq!(breaker.finish(trial, Verdict::Passed, at(2), &ENTROPY), None);
        assert_eq!(breaker.finish(next, Verdict::Passed, at(2), &ENTROPY), Some(Change::Closed));
    }

    #[test]
    fn calls_from_before_a_change_are_not_heeded() {
        let mut breaker = breaker(1, None);
        let (early, other) = (free(&breaker, 0), free(&breaker, 0));
        call(&mut breaker, 0, Verdict::Failed);
        assert_eq!(breaker.finish(early, Verdict::Passed, at(0), &ENTROPY), None);
        assert_ne!(breaker.phase(), Phase::Closed);
        let trial = breaker.begin_trial(at(2)).unwrap();
        breaker.finish(trial, Verdict::Passed, at(2), &ENTROPY);
        assert_eq!(breaker.finish(other, Verdict::Failed, at(2), &ENTROPY), None);
        assert_eq!(breaker.phase(), Phase::Closed);
    }

    #[test]
    fn a_share_of_failures_opens_it_when_there_are_enough_calls() {
        let mut breaker = breaker(0, Some(50));
        for _ in 0..3 {
            assert_eq!(call(&mut breaker, 0, Verdict::Failed), None, "too few");
        }
        // Those are forgotten by now.
        for verdict in [Verdict::Passed, Verdict::Passed, Verdict::Failed] {
            assert_eq!(call(&mut breaker, 20, verdict), None);
        }
        assert_eq!(call(&mut breaker, 21, Verdict::Failed), Some(Change::Opened));
    }

    #[test]
    fn it_can_be_turned_off() {
        let mut breaker = breaker(0, None);
        for _ in 0..1000 {
            assert_eq!(call(&mut breaker, 0, Verdict::Failed), None);
        }
    }
}
