//! What this replica remembers of one client's tokens.
//!
//! Each client has room of its own: one that fills it costs no other anything.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use prometheus_client::metrics::gauge::Gauge;

use crate::clock::Clock;
use crate::entropy::{Entropy, NoEntropy};
use crate::gateway::replay::token::{Token, Use};
use crate::names::ClientId;
use crate::store::memory::MemoryStore;
use crate::store::{Insert, Store, StoreError};

/// One client's tokens.
#[derive(Debug)]
pub(super) struct Share {
    client: ClientId,
    memory: MemoryStore,
    /// Unix time in milliseconds. Of tokens issued earlier some were used and did not fit in.
    missing: AtomicU64,
    told: AtomicBool,
    held: Gauge,
}

impl Share {
    /// Room for `capacity` tokens of `client`; `held` shows how many there are.
    ///
    /// # Errors
    /// [`NoEntropy`] where it cannot be made.
    pub(super) fn new(
        client: ClientId,
        capacity: u64,
        clock: Arc<dyn Clock>,
        entropy: &dyn Entropy,
        held: Gauge,
    ) -> Result<Self, NoEntropy> {
        Ok(Self {
            client,
            memory: MemoryStore::new(capacity, clock, entropy)?,
            missing: AtomicU64::new(0),
            told: AtomicBool::new(false),
            held,
        })
    }

    /// Whether a token of this age may have been used and not fitted in.
    pub(super) fn may_lack(&self, token: &Token) -> bool {
        token.issued_at.millis() < self.missing.load(Ordering::Relaxed)
    }

    /// Remembers that `token` is used, with `request`, unless that is known already.
    ///
    /// # Errors
    /// [`StoreError::Full`], and [`StoreError::Late`] where its time is over.
    pub(super) async fn remember(&self, token: &Token, request: Bytes) -> Result<Use, StoreError> {
        let answer = self.memory.insert(token.key, token.nonce, request, token.until).await;
        self.show(matches!(answer, Err(StoreError::Full)));
        Ok(match answer? {
            Insert::First => Use::First,
            Insert::Held(request) => Use::Again(request),
        })
    }

    /// Notes that `token` is used and did not fit in: from now on nothing as old as it is taken for unused.
    /// Whoever has remembered it before that was noted is found; whoever does so later finds the note.
    pub(super) async fn lack(&self, token: &Token) -> Use {
        let after = token.issued_at.millis().saturating_add(1);
        self.missing.fetch_max(after, Ordering::Relaxed);
        match self.memory.get(token.key).await {
            Ok(Some(request)) => Use::Again(request),
            Ok(None) | Err(_) => Use::First,
        }
    }

    /// Shows how much is held, and tells once that it is full until there is a fifth of the room again.
    fn show(&self, full: bool) {
        let fill = self.memory.fill();
        self.held.set(i64::try_from(fill.entries).unwrap_or(i64::MAX));
        if full {
            if !self.told.swap(true, Ordering::Relaxed) {
                tracing::warn!(
                    client = self.client.as_str(),
                    capacity = fill.capacity,
                    "this replica has no room for another token of this client: while the store is \
                     away, its calls are refused until older tokens end"
                );
            }
        } else if fill.entries < fill.capacity / 5 * 4 {
            self.told.store(false, Ordering::Relaxed);
        }
    }
}
