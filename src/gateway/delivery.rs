//! What a clinician did with a card reaches the service once.
//!
//! An entry is claimed, delivered, and only then settled: when the upstream fails, the claim is given
//! back and the EHR's retry delivers it. What cannot be told apart is a crash between the upstream's
//! answer and the settling: then the retry delivers again, because losing it would be worse.
//!
//! A store that goes away in between is told later what became of the claim, as long as the claim holds
//! and the gateway runs; once more when it is stopped.

use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::clock::{Clock, UnixTime};
use crate::entropy::{Entropy, draw};
use crate::gateway::refusal::Refusal;
use crate::gateway::tokens::IdError;
use crate::store::{Claim, Incarnation, Key, Nonce, Store, StoreError};

/// Work that is to be done once, and by whom.
#[derive(Debug)]
pub enum Turn {
    /// It is the caller's.
    Mine(Claimed),
    /// It has been done, and was answered with this status.
    Done(StatusCode),
    /// Somebody else is at it.
    Busy,
}

/// A claim on a delivery.
#[derive(Debug)]
pub struct Claimed {
    key: Key,
    nonce: Nonce,
    /// When its lease ends, on the stop watch: no wall clock ends it in the store.
    ends: Duration,
    until: UnixTime,
}

/// What becomes of a claim.
#[derive(Clone, Debug)]
enum End {
    /// It is done, with this answer.
    Settled(Bytes),
    /// It is given back.
    Released,
}

/// Keeps deliveries to one each.
#[derive(Debug)]
pub struct Deliveries {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    places: Places,
    owed: TaskTracker,
    stopping: CancellationToken,
}

/// Room for claims whose end a store is told later. What is given back ends with its lease anyway, so it
/// takes no room from what is done.
#[derive(Debug)]
struct Places {
    settled: Arc<Semaphore>,
    released: Arc<Semaphore>,
}

/// Twice what any upstream call may take; a claim whose owner died is free again after it.
const LEASE: Duration = Duration::from_secs(120);
/// How long a store that did not answer is left alone.
const PAUSE: Duration = Duration::from_secs(5);
/// Claims that are done: far more than can be under way when a store goes away. A few megabytes.
const SETTLED_LATER: usize = 16 * 1024;
/// Claims that are given back. More end with their leases.
const RELEASED_LATER: usize = 256;
/// How long all that is owed may take when the gateway is stopped.
const LAST_TRY: Duration = Duration::from_secs(5);

impl Deliveries {
    /// A step that remembers in `store`.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        let places = Places {
            settled: Arc::new(Semaphore::new(SETTLED_LATER)),
            released: Arc::new(Semaphore::new(RELEASED_LATER)),
        };
        let (owed, stopping) = (TaskTracker::new(), CancellationToken::new());
        Self { store, clock, entropy, places, owed, stopping }
    }

    /// Asks for the delivery named `key`, which is remembered until `until` once done. What it is about was
    /// issued under `history`.
    ///
    /// # Errors
    /// [`Refusal`], of the id where the store has forgotten `history` meanwhile, and what was done in it.
    pub async fn claim(
        &self,
        key: Key,
        until: UnixTime,
        history: Incarnation,
    ) -> Result<Turn, Refusal> {
        let nonce = Nonce(draw(self.entropy.as_ref())?);
        let lease_until = self.clock.now().plus(LEASE);
        let ends = self.clock.monotonic().saturating_add(LEASE);
        let claimed = Claimed { key, nonce, ends, until };
        match self.store.claim(key, nonce, lease_until).await {
            Ok(Claim::Mine) => self.check(claimed, history).await.map(Turn::Mine),
            Ok(Claim::Busy) => Ok(Turn::Busy),
            Ok(Claim::Settled(status)) => Ok(Turn::Done(decode(&status))),
            Err(error) => {
                if matches!(error, StoreError::Down(_)) {
                    // It may hold the claim all the same, and the EHR's retry would find it busy.
                    self.end_later(claimed, End::Released);
                }
                Err(error.into())
            }
        }
    }

    /// A history never comes back: where it is the store's after the claim was granted, it was the store's
    /// when it was granted, however long that took.
    async fn check(&self, claimed: Claimed, history: Incarnation) -> Result<Claimed, Refusal> {
        let refusal = match self.store.incarnation() {
            Ok(present) if present == history => return Ok(claimed),
            Ok(_) => IdError::Forged.into(),
            Err(error) => error.into(),
        };
        self.release(claimed).await;
        Err(refusal)
    }

    /// The upstream took it, with this status.
    ///
    /// It is too late for an error: what the upstream took stays taken. A store that cannot note it now
    /// is told again until the claim's lease ends; it is alarmed about where that fails too, because a
    /// repeat would then be delivered again.
    pub async fn settle(&self, claimed: Claimed, status: StatusCode) {
        let value = Bytes::copy_from_slice(&status.as_u16().to_be_bytes());
        self.end(claimed, End::Settled(value)).await;
    }

    /// The upstream did not take it: the next attempt may.
    pub async fn release(&self, claimed: Claimed) {
        self.end(claimed, End::Released).await;
    }

    /// Tells the store at once, and for the last time, what it is still to be told: nobody calls any more.
    /// A store that is away is not waited for.
    pub async fn finish(&self) {
        self.stopping.cancel();
        self.owed.close();
        if timeout(LAST_TRY, self.owed.wait()).await.is_err() {
            let owed = self.owed.len();
            tracing::error!(owed, "the store was not told in time what became of deliveries");
        }
    }

    async fn end(&self, claimed: Claimed, end: End) {
        match tell(self.store.as_ref(), &claimed, &end).await {
            Ok(()) => {}
            Err(error @ StoreError::Down(_)) => {
                tracing::warn!(%error, "the end of a delivery could not be noted yet");
                self.end_later(claimed, end);
            }
            Err(error) => give_up(&end, &error.to_string()),
        }
    }

    /// Tells the store again and again, beside everything else, until the lease ends.
    fn end_later(&self, claimed: Claimed, end: End) {
        let places = match end {
            End::Settled(_) => &self.places.settled,
            End::Released => &self.places.released,
        };
        let Ok(place) = Arc::clone(places).try_acquire_owned() else {
            give_up(&end, "too many others wait for the store");
            return;
        };
        // Whoever closes the store without finishing does not wait for this.
        let (store, clock) = (Arc::downgrade(&self.store), Arc::clone(&self.clock));
        let stopping = self.stopping.clone();
        self.owed.spawn(async move {
            let told = tell_later(&store, clock.as_ref(), &stopping, &claimed, &end).await;
            if let Err(error) = told {
                give_up(&end, &error.to_string());
            }
            drop(place);
        });
    }
}

async fn tell_later(
    store: &Weak<dyn Store>,
    clock: &dyn Clock,
    stopping: &CancellationToken,
    claimed: &Claimed,
    end: &End,
) -> Result<(), StoreError> {
    loop {
        tokio::select! {
            () = clock.sleep(PAUSE) => {}
            () = stopping.cancelled() => {}
        }
        let last = stopping.is_cancelled();
        let Some(store) = store.upgrade() else {
            return Err(StoreError::Down("it has been closed".to_owned()));
        };
        match tell(store.as_ref(), claimed, end).await {
            Err(StoreError::Down(_)) if !last && clock.monotonic() < claimed.ends => {}
            told => return told,
        }
    }
}

async fn tell(store: &dyn Store, claimed: &Claimed, end: &End) -> Result<(), StoreError> {
    let Claimed { key, nonce, until, .. } = *claimed;
    match end {
        End::Settled(value) => store.settle(key, nonce, value.clone(), until).await,
        End::Released => store.release(key, nonce).await,
    }
}

fn give_up(end: &End, error: &str) {
    match end {
        End::Settled(_) => tracing::error!(
            error,
            "a delivery is done and could not be noted: a repeat would be delivered again"
        ),
        End::Released => tracing::warn!(
            error,
            "a delivery could not be given back; it is free again when its lease ends"
        ),
    }
}

fn decode(status: &Bytes) -> StatusCode {
    <[u8; 2]>::try_from(status.as_ref())
        .ok()
        .and_then(|bytes| StatusCode::from_u16(u16::from_be_bytes(bytes)).ok())
        .unwrap_or(StatusCode::OK)
}
