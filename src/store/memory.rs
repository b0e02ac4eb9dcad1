//! A store in this process, gone at its end.
//!
//! It promises what the contract says as long as the process lives, and refuses when it is full.
//! Caches that evict (TinyLFU, LRU) cannot be used here: an evicted spend is a replay.

use std::array;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use crate::clock::{Clock, UnixTime};
use crate::entropy::{Entropy, NoEntropy, draw};
use crate::store::contract::{Claim, Fill, Incarnation, Insert, Key, Nonce, Store, StoreError};
use crate::store::expiring::Expiring;
use crate::store::horizon::Horizon;

/// Enough that callers on a machine of any usual size seldom meet in one.
const SHARDS: usize = 64;
/// What each step sweeps in its own shard: more than it adds, so that no backlog can grow.
const SWEPT_PER_STEP: usize = 2;
/// What is swept in each shard when the store is full.
const SWEPT_WHEN_FULL: usize = 1_000;

/// The store in memory. Each key lives in one shard with a lock of its own; only the count is shared.
#[derive(Debug)]
pub struct MemoryStore {
    shards: [Mutex<Shard>; SHARDS],
    entries: AtomicU64,
    capacity: u64,
    incarnation: Incarnation,
    clock: Arc<dyn Clock>,
}

#[derive(Debug)]
struct Shard {
    kept: Expiring<Entry>,
    claims: Expiring<Nonce>,
    horizon: Horizon,
}

/// The times of one step. The clock is looked at while no lock is held.
struct Times {
    now: UnixTime,
    /// By when things have ended.
    horizon: UnixTime,
}

#[derive(Debug)]
struct Entry {
    nonce: Nonce,
    value: Bytes,
}

impl MemoryStore {
    /// An empty store for `capacity` entries, whose history begins now.
    ///
    /// # Errors
    /// [`NoEntropy`] where its mark cannot be drawn.
    pub fn new(
        capacity: u64,
        clock: Arc<dyn Clock>,
        entropy: &dyn Entropy,
    ) -> Result<Self, NoEntropy> {
        Ok(Self {
            shards: array::from_fn(|_| {
                let horizon = Horizon::default();
                Mutex::new(Shard { kept: Expiring::new(), claims: Expiring::new(), horizon })
            }),
            entries: AtomicU64::new(0),
            capacity,
            incarnation: Incarnation { mark: draw(entropy)?, since: clock.now() },
            clock,
        })
    }

    /// The shard of `key`, a little swept.
    fn shard(&self, key: &Key) -> Result<(MutexGuard<'_, Shard>, Times), StoreError> {
        let [first, ..] = key.as_bytes();
        let shard = self
            .shards
            .get(usize::from(*first) % SHARDS)
            .ok_or_else(|| StoreError::Down("no shard for the key".to_owned()))?;
        let (now, elapsed) = self.look();
        let mut shard = lock(shard);
        let horizon = shard.horizon.at(now, elapsed);
        self.sweep(&mut shard, horizon, SWEPT_PER_STEP);
        Ok((shard, Times { now, horizon }))
    }

    fn look(&self) -> (UnixTime, Duration) {
        (self.clock.now(), self.clock.monotonic())
    }

    fn full(&self) -> bool {
        self.entries.load(Ordering::Relaxed) >= self.capacity
    }

    /// Sweeps all shards of a full store, one after the other: no two locks are ever held.
    fn make_room(&self) {
        if self.full() {
            let (now, elapsed) = self.look();
            for shard in &self.shards {
                let mut shard = lock(shard);
                let horizon = shard.horizon.at(now, elapsed);
                self.sweep(&mut shard, horizon, SWEPT_WHEN_FULL);
            }
        }
    }

    fn sweep(&self, shard: &mut Shard, horizon: UnixTime, most: usize) {
        let swept = shard.kept.sweep(horizon, most) + shard.claims.sweep(horizon, most);
        self.entries.fetch_sub(u64::try_from(swept).unwrap_or(0), Ordering::Relaxed);
    }

    fn take_room(&self) -> Result<(), StoreError> {
        self.entries
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |held| {
                (held < self.capacity).then_some(held + 1)
            })
            .map(|_| ())
            .map_err(|_| StoreError::Full)
    }

    fn give_room_back(&self) {
        self.entries.fetch_sub(1, Ordering::Relaxed);
    }
}

/// No step panics between two changes that belong together: what a poisoned lock guards is whole.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait]
impl Store for MemoryStore {
    async fn insert(
        &self,
        key: Key,
        nonce: Nonce,
        value: Bytes,
        until: UnixTime,
    ) -> Result<Insert, StoreError> {
        self.make_room();
        let (mut shard, Times { now, horizon }) = self.shard(&key)?;
        if until <= now {
            return Err(StoreError::Late);
        }
        match shard.kept.get(&key, horizon) {
            Some(entry) if entry.nonce == nonce => return Ok(Insert::First),
            Some(entry) => return Ok(Insert::Held(entry.value.clone())),
            None => {}
        }
        if !shard.kept.holds(&key) {
            self.take_room()?;
        }
        shard.kept.put(key, Entry { nonce, value }, until);
        Ok(Insert::First)
    }

    async fn get(&self, key: Key) -> Result<Option<Bytes>, StoreError> {
        let (shard, Times { horizon, .. }) = self.shard(&key)?;
        Ok(shard.kept.get(&key, horizon).map(|entry| entry.value.clone()))
    }

    async fn claim(
        &self,
        key: Key,
        nonce: Nonce,
        lease_until: UnixTime,
    ) -> Result<Claim, StoreError> {
        self.make_room();
        let (mut shard, Times { now, horizon }) = self.shard(&key)?;
        if lease_until <= now {
            return Err(StoreError::Late);
        }
        if let Some(entry) = shard.kept.get(&key, horizon) {
            return Ok(Claim::Settled(entry.value.clone()));
        }
        if shard.claims.get(&key, horizon).is_some_and(|holder| *holder != nonce) {
            return Ok(Claim::Busy);
        }
        if !shard.claims.holds(&key) {
            self.take_room()?;
        }
        shard.claims.put(key, nonce, horizon.plus(lease_until.since(now)));
        Ok(Claim::Mine)
    }

    async fn settle(
        &self,
        key: Key,
        nonce: Nonce,
        value: Bytes,
        until: UnixTime,
    ) -> Result<(), StoreError> {
        let (mut shard, Times { horizon, .. }) = self.shard(&key)?;
        if shard.kept.get(&key, horizon).is_some_and(|entry| entry.nonce == nonce) {
            return Ok(());
        }
        if shard.claims.get(&key, horizon) != Some(&nonce) {
            return Err(StoreError::LeaseLost);
        }
        shard.claims.remove(&key);
        // The claim's room becomes the entry's, unless an ended entry still has one.
        if shard.kept.holds(&key) {
            self.give_room_back();
        }
        shard.kept.put(key, Entry { nonce, value }, until);
        Ok(())
    }

    async fn release(&self, key: Key, nonce: Nonce) -> Result<(), StoreError> {
        let (mut shard, Times { horizon, .. }) = self.shard(&key)?;
        if shard.claims.get(&key, horizon) == Some(&nonce) {
            shard.claims.remove(&key);
            self.give_room_back();
        }
        Ok(())
    }

    fn incarnation(&self) -> Result<Incarnation, StoreError> {
        Ok(self.incarnation)
    }

    /// It knows of nothing before this process.
    fn has_forgotten(&self) -> bool {
        false
    }

    fn fill(&self) -> Fill {
        let entries = self.entries.load(Ordering::Relaxed);
        Fill { entries, capacity: self.capacity, memory: None }
    }

    async fn ready(&self) -> Result<(), StoreError> {
        self.make_room();
        if self.full() { Err(StoreError::Full) } else { Ok(()) }
    }
}
