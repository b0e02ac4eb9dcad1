//! One bucket for each key, and a bound on how many there are.
//!
//! governor keeps as many buckets as there are keys. Here newcomers beyond the bound share a fixed
//! number of buckets instead: memory is bounded, and nobody gets in free by being the last to come.

use std::convert::Infallible;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use governor::clock::Clock as _;
use governor::middleware::{StateInformationMiddleware, StateSnapshot};
use governor::nanos::Nanos;
use governor::state::StateStore;
use governor::state::keyed::{DashMapStateStore, ShrinkableKeyedStateStore};
use governor::{NotUntil, Quota, RateLimiter};

use crate::clock::Clock;

/// How many buckets the newcomers beyond the bound share.
const SHARED: u64 = 1024;

/// A full set of buckets is swept when somebody new comes, but not more often than this.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// The injected clock, as governor reads it.
#[derive(Clone, Debug)]
struct Ticks(Arc<dyn Clock>);

impl governor::clock::Clock for Ticks {
    type Instant = Nanos;

    fn now(&self) -> Nanos {
        Nanos::new(u64::try_from(self.0.monotonic().as_nanos()).unwrap_or(u64::MAX))
    }
}

/// Which bucket, and what to do with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Ask {
    key: u64,
    act: Act,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Act {
    /// Take one, if it holds one.
    Draw,
    /// Say what a draw would say.
    Look,
    /// Undo a draw.
    GiveBack,
    /// Have one again in so many nanoseconds, and none before.
    Hold(u64),
}

/// At most `max` buckets by key, and [`SHARED`] for the rest.
#[derive(Debug)]
struct Bounded {
    own: DashMapStateStore<u64>,
    shared: DashMapStateStore<u64>,
    max: usize,
    /// What one draw weighs.
    every: Nanos,
    /// What a bucket that holds one may owe.
    slack: Nanos,
    /// Somebody had to share since the last sweep.
    folded: Arc<AtomicBool>,
}

impl Bounded {
    fn place(&self, key: u64) -> (&DashMapStateStore<u64>, u64) {
        if self.own.contains_key(&key) || self.own.len() < self.max {
            return (&self.own, key);
        }
        self.folded.store(true, Ordering::Relaxed);
        (&self.shared, key % SHARED)
    }
}

impl StateStore for Bounded {
    type Key = Ask;

    fn measure_and_replace<T, F, E>(&self, ask: &Ask, decide: F) -> Result<T, E>
    where
        F: Fn(Option<Nanos>) -> Result<(T, Nanos), E>,
    {
        let (buckets, key) = self.place(ask.key);
        let there = buckets.contains_key(&key);
        match ask.act {
            Act::Draw => buckets.measure_and_replace(&key, decide),
            Act::Look | Act::GiveBack if !there => decide(None).map(|(answer, _)| answer),
            Act::Look => {
                // The store replaces a state only on success, so the decision travels as the error.
                let looked = buckets.measure_and_replace(&key, |state| {
                    Err::<(Infallible, Nanos), _>(decide(state).map(|(answer, _)| answer))
                });
                match looked {
                    Err(decision) => decision,
                    Ok(never) => match never {},
                }
            }
            Act::GiveBack => buckets.measure_and_replace(&key, |state| {
                let (answer, _) = decide(None)?;
                Ok((answer, state.unwrap_or_default().saturating_sub(self.every)))
            }),
            Act::Hold(wait) => buckets.measure_and_replace(&key, |_| {
                // The first draw of all moves a bucket from now to one draw after it.
                let (answer, next) = decide(None)?;
                let now = next.saturating_sub(self.every);
                Ok((answer, now + Nanos::new(wait) + self.slack))
            }),
        }
    }
}

impl ShrinkableKeyedStateStore<Ask> for Bounded {
    fn retain_recent(&self, drop_below: Nanos) {
        self.own.retain_recent(drop_below);
        self.shared.retain_recent(drop_below);
    }

    fn shrink_to_fit(&self) {
        ShrinkableKeyedStateStore::shrink_to_fit(&self.own);
    }

    fn len(&self) -> usize {
        self.own.len().saturating_add(self.shared.len())
    }

    fn is_empty(&self) -> bool {
        self.own.is_empty() && self.shared.is_empty()
    }
}

/// What is left after a check that passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Left(pub(crate) u32);

/// How long until the next check would pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wait(pub(crate) Duration);

/// What a bucket says to one draw.
pub(crate) type Answer = Result<Left, Wait>;

/// One quota, held by each key for itself.
#[derive(Debug)]
pub(crate) struct Buckets {
    limiter: RateLimiter<Ask, Bounded, Ticks, StateInformationMiddleware>,
    /// Keyed at random, so that nobody can choose whom to share a bucket with.
    hasher: RandomState,
    quota: Quota,
    max: usize,
    folded: Arc<AtomicBool>,
    /// In nanoseconds of the clock.
    next_sweep: AtomicU64,
}

impl Buckets {
    /// `max` is how many keys are told apart.
    pub(crate) fn new(quota: Quota, max: usize, clock: &Arc<dyn Clock>) -> Self {
        let folded = Arc::new(AtomicBool::new(false));
        let store = Bounded {
            own: DashMapStateStore::default(),
            shared: DashMapStateStore::default(),
            max,
            every: quota.replenish_interval().into(),
            slack: Nanos::from(quota.replenish_interval())
                * u64::from(quota.burst_size().get().saturating_sub(1)),
            folded: Arc::clone(&folded),
        };
        Self {
            limiter: RateLimiter::new(quota, store, Ticks(Arc::clone(clock))),
            hasher: RandomState::new(),
            quota,
            max,
            folded,
            next_sweep: AtomicU64::new(0),
        }
    }

    pub(crate) const fn quota(&self) -> Quota {
        self.quota
    }

    /// Whether these buckets hold what [`Self::new`] would be asked for.
    pub(crate) fn serves(&self, quota: Quota, max: usize) -> bool {
        self.quota == quota && self.max == max
    }

    /// Draws one from `key`'s bucket, if it holds one.
    pub(crate) fn draw(&self, key: &impl Hash) -> Answer {
        self.ask(key, Act::Draw)
    }

    /// What [`Self::draw`] would say.
    pub(crate) fn look(&self, key: &impl Hash) -> Answer {
        self.ask(key, Act::Look)
    }

    /// Undoes a draw on `key`'s bucket.
    pub(crate) fn give_back(&self, key: &impl Hash) {
        let _ = self.ask(key, Act::GiveBack);
    }

    /// Has one in `key`'s bucket after `wait`, and none before: somebody who knows better said so.
    pub(crate) fn hold(&self, key: &impl Hash, wait: Duration) {
        let wait = u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
        let _ = self.ask(key, Act::Hold(wait));
    }

    fn ask(&self, key: &impl Hash, act: Act) -> Answer {
        let decision = self.limiter.check_key(&Ask { key: self.hasher.hash_one(key), act });
        let now = self.limiter.clock().now();
        if self.folded.load(Ordering::Relaxed) {
            self.sweep_when_due(now);
        }
        decision
            .map(|state: StateSnapshot| Left(state.remaining_burst_capacity()))
            .map_err(|until: NotUntil<Nanos>| Wait(until.wait_time_from(now)))
    }

    fn sweep_when_due(&self, now: Nanos) {
        let due = self.next_sweep.load(Ordering::Relaxed);
        let next = now.as_u64().saturating_add(SWEEP_EVERY.as_secs().saturating_mul(1_000_000_000));
        let mine = now.as_u64() >= due
            && self
                .next_sweep
                .compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok();
        if mine {
            self.folded.store(false, Ordering::Relaxed);
            self.limiter.retain_recent();
        }
    }

    /// Forgets every bucket that is full again: it is no different from a new one.
    pub(crate) fn sweep(&self) {
        self.limiter.retain_recent();
        self.limiter.shrink_to_fit();
    }

    /// How many buckets are held.
    pub(crate) fn keys(&self) -> usize {
        self.limiter.len()
    }
}
