//! What one connection's parts must know of each other: how many requests it has seen, which of them
//! was at fault, and whether it should end.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::Instant;

use crate::doors::fault::Fault;
use crate::doors::metrics::Closed;

/// The requests of one connection, numbered from 1 in the order of their arrival.
#[derive(Debug)]
pub(crate) struct Exchanges {
    opened: Instant,
    begun: AtomicU64,
    ended: AtomicU64,
    /// Milliseconds from `opened` to when the last one ended.
    last_end: AtomicU64,
    fault: OnceLock<(u64, Fault)>,
    leaving: OnceLock<(Instant, Closed)>,
    closed: OnceLock<Closed>,
}

/// One request, from its arrival at the handler to its answer.
#[derive(Debug)]
pub(crate) struct Exchange {
    all: Arc<Exchanges>,
    number: u64,
}

impl Exchanges {
    /// A new connection's.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            opened: Instant::now(),
            begun: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            last_end: AtomicU64::new(0),
            fault: OnceLock::new(),
            leaving: OnceLock::new(),
            closed: OnceLock::new(),
        })
    }

    /// A request arrived.
    pub(crate) fn begin(self: &Arc<Self>) -> Exchange {
        let number = self.begun.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        Exchange { all: Arc::clone(self), number }
    }

    /// How many were answered or given up.
    pub(crate) fn ended(&self) -> u64 {
        self.ended.load(Ordering::Acquire)
    }

    /// Since when no request is in flight; nothing where one is.
    pub(crate) fn idle_since(&self) -> Option<Instant> {
        if self.begun.load(Ordering::Acquire) != self.ended() {
            return None;
        }
        let last_end = Duration::from_millis(self.last_end.load(Ordering::Acquire));
        self.opened.checked_add(last_end)
    }

    /// Request `number` must not be answered as if it were sound. Nothing is read after it.
    pub(crate) fn refuse(&self, number: u64, fault: Fault) {
        let _ = self.fault.set((number, fault));
    }

    /// The connection's one fault.
    pub(crate) fn fault(&self) -> Option<Fault> {
        self.fault.get().map(|(_, fault)| *fault)
    }

    /// Answers say from now on that they are the last, and at `by` an idle connection ends. The first
    /// reason stands.
    pub(crate) fn leave(&self, by: Instant, reason: Closed) {
        let _ = self.leaving.set((by, reason));
    }

    /// When and why an idle connection must end.
    pub(crate) fn leaving(&self) -> Option<(Instant, Closed)> {
        self.leaving.get().copied()
    }

    /// The connection ends for this reason, unless one was given before.
    pub(crate) fn close(&self, reason: Closed) {
        let _ = self.closed.set(reason);
    }

    /// Why the connection ends.
    pub(crate) fn closed(&self) -> Option<Closed> {
        self.closed.get().copied()
    }
}

impl Exchange {
    /// What is wrong with this request, as far as it has been read.
    pub(crate) fn fault(&self) -> Option<Fault> {
        self.all.fault.get().filter(|(number, _)| *number == self.number).map(|(_, fault)| *fault)
    }

    /// Whether this answer should be the connection's last.
    pub(crate) fn is_last(&self) -> bool {
        self.all.leaving.get().is_some()
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let millis = u64::try_from(self.all.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.all.last_end.fetch_max(millis, Ordering::Release);
        self.all.ended.fetch_add(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_is_that_of_its_own_request_only() {
        let all = Exchanges::new();
        let first = all.begin();
        all.refuse(2, Fault::Chunk);
        let second = all.begin();
        assert_eq!((first.fault(), second.fault()), (None, Some(Fault::Chunk)));
        all.refuse(1, Fault::Host);
        assert_eq!(first.fault(), None, "the first fault stands");
    }

    #[tokio::test]
    async fn idle_is_when_every_request_has_ended() {
        let all = Exchanges::new();
        assert!(all.idle_since().is_some());
        let (first, second) = (all.begin(), all.begin());
        drop(first);
        assert_eq!(all.idle_since(), None);
        drop(second);
        assert!(all.idle_since().is_some());
        assert_eq!(all.ended(), 2);
    }
}
