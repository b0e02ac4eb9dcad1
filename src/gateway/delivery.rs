//! What a clinician did with a card reaches the service once.
//!
//! An entry is claimed, delivered, and only then settled: when the upstream fails, the claim is given
//! back and the EHR's retry delivers it. What cannot be told apart is a crash between the upstream's
//! answer and the settling: then the retry delivers again, because losing it would be worse.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::StatusCode;

use crate::clock::{Clock, UnixTime};
use crate::entropy::{Entropy, draw};
use crate::gateway::refusal::Refusal;
use crate::store::{Claim, Key, Nonce, Store};

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
    until: UnixTime,
}

/// Keeps deliveries to one each.
#[derive(Debug)]
pub struct Deliveries {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

/// Twice what any upstream call may take; a claim whose owner died is free again after it.
const LEASE: Duration = Duration::from_secs(120);

impl Deliveries {
    /// A step that remembers in `store`.
    pub fn new(store: Arc<dyn Store>, clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Self {
        Self { store, clock, entropy }
    }

    /// Asks for the delivery named `key`, which is remembered until `until` once done.
    ///
    /// # Errors
    /// [`Refusal`]
    pub async fn claim(&self, key: Key, until: UnixTime) -> Result<Turn, Refusal> {
        let nonce = Nonce(draw(self.entropy.as_ref())?);
        let lease = self.clock.now().plus(LEASE);
        Ok(match self.store.claim(key, nonce, lease).await? {
            Claim::Mine => Turn::Mine(Claimed { key, nonce, until }),
            Claim::Busy => Turn::Busy,
            Claim::Settled(status) => Turn::Done(decode(&status)),
        })
    }

    /// The upstream took it, with this status.
    ///
    /// It is too late for an error: what the upstream took stays taken. A store that cannot note it is
    /// alarmed about, and a repeat would be delivered again.
    pub async fn settle(&self, claimed: Claimed, status: StatusCode) {
        let value = Bytes::copy_from_slice(&status.as_u16().to_be_bytes());
        if let Err(error) =
            self.store.settle(claimed.key, claimed.nonce, value, claimed.until).await
        {
            tracing::error!(%error, "a delivery is done and could not be noted: a repeat would be delivered again");
        }
    }

    /// The upstream did not take it: the next attempt may.
    pub async fn release(&self, claimed: Claimed) {
        if let Err(error) = self.store.release(claimed.key, claimed.nonce).await {
            tracing::warn!(%error, "a delivery could not be given back; it is free again when its lease ends");
        }
    }
}

fn decode(status: &Bytes) -> StatusCode {
    <[u8; 2]>::try_from(status.as_ref())
        .ok()
        .and_then(|bytes| StatusCode::from_u16(u16::from_be_bytes(bytes)).ok())
        .unwrap_or(StatusCode::OK)
}
