//! What callers ask of the writer, and what one batch of it does to the ledger.

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::clock::UnixTime;
use crate::store::contract::{Claim, Insert, Key, Nonce, StoreError};
use crate::store::disk::ledger::{Entry, Ledger};
use crate::store::expiring::Expiring;

/// Where an answer goes.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// One step that a caller waits for.
#[derive(Debug)]
pub(crate) enum Operation {
    Insert {
        key: Key,
        nonce: Nonce,
        value: Bytes,
        until: UnixTime,
        reply: Reply<Insert>,
    },
    Claim {
        key: Key,
        nonce: Nonce,
        lease_until: UnixTime,
        reply: Reply<Claim>,
    },
    Settle {
        key: Key,
        nonce: Nonce,
        value: Bytes,
        until: UnixTime,
        reply: Reply<()>,
    },
    Release {
        key: Key,
        nonce: Nonce,
        reply: Reply<()>,
    },
    /// Would a promise be kept now? Asks for a commit.
    Probe {
        reply: Reply<()>,
    },
}

impl Operation {
    /// Answers that nothing can be promised.
    pub(crate) fn refuse(self, reason: &str) {
        let down = || StoreError::Down(reason.to_owned());
        match self {
            Self::Insert { reply, .. } => drop(reply.send(Err(down()))),
            Self::Claim { reply, .. } => drop(reply.send(Err(down()))),
            Self::Settle { reply, .. } | Self::Release { reply, .. } | Self::Probe { reply } => {
                drop(reply.send(Err(down())))
            }
        }
    }
}

/// An answer that waits for the commit it depends on.
pub(crate) type Answer = Box<dyn FnOnce(Result<(), &str>) + Send>;

/// A caller who has gone away needs no answer.
fn answer<T: Send + 'static>(reply: Reply<T>, result: Result<T, StoreError>) -> Answer {
    Box::new(move |commit| {
        let result = match commit {
            Ok(()) => result,
            Err(reason) => Err(StoreError::Down(reason.to_owned())),
        };
        drop(reply.send(result));
    })
}

/// The steps of one transaction, in the order in which they were asked for. Nothing of it counts
/// before it is committed.
#[derive(Debug)]
pub(crate) struct Batch<'t, 'c> {
    ledger: Ledger<'t>,
    claims: &'c mut Expiring<Nonce>,
    now: UnixTime,
    /// By which time things have ended.
    horizon: UnixTime,
    capacity: u64,
    entries: u64,
    effects: Effects,
}

/// What a batch leaves for after its commit.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    /// Whether the ledger was changed, or a commit was asked for.
    pub(crate) commit: bool,
    /// Entries in the ledger after the commit.
    pub(crate) entries: u64,
    /// Claims begun: to be taken back where the commit fails, for nobody will learn of them.
    pub(crate) claimed: Vec<Key>,
    /// Claims settled: to be taken away where it succeeds.
    pub(crate) settled: Vec<Key>,
}

impl<'t, 'c> Batch<'t, 'c> {
    pub(crate) fn new(
        ledger: Ledger<'t>,
        claims: &'c mut Expiring<Nonce>,
        now: UnixTime,
        horizon: UnixTime,
        capacity: u64,
    ) -> Result<Self, redb::Error> {
        let (entries, effects) = (ledger.len()?, Effects::default());
        Ok(Self { ledger, claims, now, horizon, capacity, entries, effects })
    }

    /// Drops up to `most` entries and as many claims that have ended.
    pub(crate) fn sweep(&mut self, most: usize) -> Result<(), redb::Error> {
        self.claims.sweep(self.horizon, most);
        let swept = self.ledger.sweep(self.horizon, most)?;
        self.effects.commit |= swept > 0;
        self.entries = self.entries.saturating_sub(u64::try_from(swept).unwrap_or(u64::MAX));
        Ok(())
    }

    /// Takes one step; its answer is to be given after the commit.
    pub(crate) fn apply(&mut self, operation: Operation) -> Result<Answer, redb::Error> {
        Ok(match operation {
            Operation::Insert { key, nonce, value, until, reply } => {
                answer(reply, self.insert(key, nonce, value, until)?)
            }
            Operation::Claim { key, nonce, lease_until, reply } => {
                answer(reply, self.claim(key, nonce, lease_until)?)
            }
            Operation::Settle { key, nonce, value, until, reply } => {
                answer(reply, self.settle(key, nonce, value, until)?)
            }
            Operation::Release { key, nonce, reply } => {
                self.release(&key, nonce);
                answer(reply, Ok(()))
            }
            Operation::Probe { reply } => {
                self.effects.commit = true;
                answer(reply, if self.full() { Err(StoreError::Full) } else { Ok(()) })
            }
        })
    }

    pub(crate) fn finish(self) -> Effects {
        Effects { entries: self.entries, ..self.effects }
    }

    fn full(&self) -> bool {
        let claims = u64::try_from(self.claims.len()).unwrap_or(u64::MAX);
        self.entries.saturating_add(claims) >= self.capacity
    }

    fn current(&self, key: &Key) -> Result<Option<Entry>, redb::Error> {
        self.ledger.get(key, self.horizon)
    }

    fn put(&mut self, key: &Key, entry: &Entry) -> Result<(), redb::Error> {
        self.ledger.put(key, entry)?;
        self.entries = self.ledger.len()?;
        self.effects.commit = true;
        Ok(())
    }

    fn insert(
        &mut self,
        key: Key,
        nonce: Nonce,
        value: Bytes,
        until: UnixTime,
    ) -> Result<Result<Insert, StoreError>, redb::Error> {
        if until <= self.now {
            return Ok(Err(StoreError::Late));
        }
        if let Some(entry) = self.current(&key)? {
            return Ok(Ok(if entry.nonce == nonce {
                Insert::First
            } else {
                Insert::Held(entry.value)
            }));
        }
        if self.full() {
            return Ok(Err(StoreError::Full));
        }
        self.put(&key, &Entry { until, nonce, value })?;
        Ok(Ok(Insert::First))
    }

    fn claim(
        &mut self,
        key: Key,
        nonce: Nonce,
        lease_until: UnixTime,
    ) -> Result<Result<Claim, StoreError>, redb::Error> {
        if lease_until <= self.now {
            return Ok(Err(StoreError::Late));
        }
        if let Some(entry) = self.current(&key)? {
            return Ok(Ok(Claim::Settled(entry.value)));
        }
        match self.claims.get(&key, self.horizon) {
            Some(holder) if *holder != nonce => return Ok(Ok(Claim::Busy)),
            Some(_) => {}
            None if self.full() => return Ok(Err(StoreError::Full)),
            None => self.effects.claimed.push(key),
        }
        self.claims.put(key, nonce, self.horizon.plus(lease_until.since(self.now)));
        Ok(Ok(Claim::Mine))
    }

    fn settle(
        &mut self,
        key: Key,
        nonce: Nonce,
        value: Bytes,
        until: UnixTime,
    ) -> Result<Result<(), StoreError>, redb::Error> {
        if self.current(&key)?.is_some_and(|entry| entry.nonce == nonce) {
            return Ok(Ok(()));
        }
        if self.claims.get(&key, self.horizon) != Some(&nonce) {
            return Ok(Err(StoreError::LeaseLost));
        }
        self.put(&key, &Entry { until, nonce, value })?;
        self.effects.settled.push(key);
        Ok(Ok(()))
    }

    fn release(&mut self, key: &Key, nonce: Nonce) {
        if self.claims.get(key, self.horizon) == Some(&nonce) {
            self.claims.remove(key);
        }
    }
}
