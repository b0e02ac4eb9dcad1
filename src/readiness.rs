//! What is still missing before calls can be answered, and what is missing although they are.
//!
//! Whoever must do something first registers, and drops the guard when it is done. Whoever can become
//! unable again adds a check. Shutting down makes everything unready, for good.
//!
//! Not everything that fails should take traffic away: where all replicas have the same trouble, that
//! would end what still works. Such a thing is told as a degradation.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Says what is missing now, each by a name that stands in `/readyz`: no secret, no address of a
/// patient. It is asked at each probe and must not wait.
pub type Check = Box<dyn Fn() -> Vec<String> + Send + Sync>;

/// Whether calls can be answered. Clones share one state.
#[derive(Clone, Debug, Default)]
pub struct Readiness(Arc<State>);

#[derive(Default)]
struct State {
    draining: AtomicBool,
    conditions: Mutex<Conditions>,
}

#[derive(Default)]
struct Conditions {
    next: u64,
    pending: Vec<(u64, String)>,
    degraded: Vec<(u64, String)>,
    checks: Vec<Check>,
    remarks: Vec<Check>,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("State").field("draining", &self.draining).finish_non_exhaustive()
    }
}

/// A condition that is not met, or a degradation that lasts, until this is dropped.
#[derive(Debug)]
#[must_use = "dropped at once, the condition is met at once"]
pub struct Pending {
    state: Arc<State>,
    number: u64,
}

impl Readiness {
    /// Ready, until a condition is registered.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a condition, such as `keys: epic-prod`.
    pub fn register(&self, name: impl Into<String>) -> Pending {
        let mut conditions = self.0.lock();
        let number = conditions.number();
        conditions.pending.push((number, name.into()));
        Pending { state: Arc::clone(&self.0), number }
    }

    /// Says that something is missing without which calls are answered all the same, if not all of them
    /// as they should be.
    pub fn degrade(&self, name: impl Into<String>) -> Pending {
        let mut conditions = self.0.lock();
        let number = conditions.number();
        conditions.degraded.push((number, name.into()));
        Pending { state: Arc::clone(&self.0), number }
    }

    /// Adds a condition that can come and go.
    pub fn add_check(&self, check: Check) {
        self.0.lock().checks.push(check);
    }

    /// Adds a degradation that can come and go.
    pub fn add_remark(&self, check: Check) {
        self.0.lock().remarks.push(check);
    }

    /// The process is going to end: not ready any more, whatever else is met.
    pub fn drain(&self) {
        self.0.draining.store(true, Ordering::Release);
    }

    /// What is missing; nothing means ready. In the order of registration.
    pub fn pending(&self) -> Vec<String> {
        let conditions = self.0.lock();
        let draining = self.0.draining.load(Ordering::Acquire).then(|| "draining".to_owned());
        draining
            .into_iter()
            .chain(conditions.pending.iter().map(|(_, name)| name.clone()))
            .chain(conditions.checks.iter().flat_map(|check| check()))
            .collect()
    }

    /// What is missing and makes nothing unready.
    pub fn degraded(&self) -> Vec<String> {
        let conditions = self.0.lock();
        let told = conditions.degraded.iter().map(|(_, name)| name.clone());
        told.chain(conditions.remarks.iter().flat_map(|remark| remark())).collect()
    }
}

impl Conditions {
    fn number(&mut self) -> u64 {
        let number = self.next;
        self.next = number.saturating_add(1);
        number
    }
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Conditions> {
        // A check that panicked has changed nothing.
        self.conditions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let mut conditions = self.state.lock();
        let Conditions { pending, degraded, .. } = &mut *conditions;
        for list in [pending, degraded] {
            list.retain(|(number, _)| *number != self.number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_ready_when_every_guard_is_dropped_and_every_check_is_content() {
        let readiness = Readiness::new();
        assert!(readiness.pending().is_empty());
        let keys = readiness.register("keys: epic-prod");
        let twin = readiness.register("keys: epic-prod");
        let store = readiness.clone().register("store");
        assert_eq!(readiness.pending(), ["keys: epic-prod", "keys: epic-prod", "store"]);
        drop(keys);
        assert_eq!(readiness.pending(), ["keys: epic-prod", "store"]);
        drop((twin, store));
        assert!(readiness.pending().is_empty());

        let away = Arc::new(AtomicBool::new(true));
        let seen = Arc::clone(&away);
        readiness.add_check(Box::new(move || {
            seen.load(Ordering::Acquire).then(|| "store: away".to_owned()).into_iter().collect()
        }));
        assert_eq!(readiness.pending(), ["store: away"]);
        away.store(false, Ordering::Release);
        assert!(readiness.pending().is_empty());
        let full = readiness.degrade("store: full");
        assert!(readiness.pending().is_empty(), "it goes on");
        assert_eq!(readiness.degraded(), ["store: full"]);
        let short = Arc::new(AtomicBool::new(true));
        let seen = Arc::clone(&short);
        readiness.add_remark(Box::new(move || {
            seen.load(Ordering::Acquire).then(|| "keys: new".to_owned()).into_iter().collect()
        }));
        assert_eq!(readiness.degraded(), ["store: full", "keys: new"]);
        drop(full);
        short.store(false, Ordering::Release);
        assert!(readiness.degraded().is_empty());
        readiness.drain();
        assert_eq!(readiness.pending(), ["draining"]);
    }
}
