//! A store in Redis or Valkey, for several replicas: one winner for each key across all of them.
//!
//! Every step is one script, which the server takes whole or not at all. An entry ends by its caller's
//! clock; Redis drops it some minutes later by its own, and whatever Redis may have dropped is
//! [`StoreError::Late`] from then on. So an entry that is gone can never be first again.
//!
//! # A store that forgets
//!
//! Each of 64 parts has a history: a mark, and how many steps were taken, by whom. A step is taken only
//! where the mark is the one its caller knows, and where no step is missing that the caller has heard of.
//! Otherwise the part has forgotten: its history begins anew, the store has another [`Incarnation`], and
//! what was issued before is refused by everybody. An emptied server, an old copy put back (also one with a
//! history that was given up before), and a replica that took over without the last writes are all noticed
//! so, by any process that knows of a step that is missing.
//!
//! Losses come with another server, or with one that was started anew. So each step names the run of the
//! server that its caller has looked at, and where it is another one, nobody takes a step before all have
//! had time to look: seven seconds, while every process looks every five ([`Store::ready`]).
//!
//! What this cannot notice: the loss of steps that no process has heard of which looks in that time. That
//! takes that Redis loses them, and that every hookgate which took or saw them ends, or cannot reach Redis.
//! Where Redis syncs each write (`appendfsync always`), or the replica that takes over is one that was
//! waited for, nothing is lost that was answered.

mod layout;
mod script;
mod history;
mod histories;
mod view;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use redis::Script;
use tokio::time::timeout;

use crate::clock::{Clock, UnixTime};
use crate::entropy::{Entropy, NoEntropy};
use crate::redis::Redis;
use crate::store::contract::{Claim, Fill, Incarnation, Insert, Key, Nonce, Store, StoreError};
use crate::store::redis::histories::{APART, Histories};
use crate::store::redis::layout::{claim_row, drop_at, entry_row, length, moment, number, tag_of};
use crate::store::redis::script::{Answer, Scripts, Told, strange};

pub use crate::store::redis::view::RedisView;

/// The store in Redis.
#[derive(Debug)]
pub struct RedisStore {
    histories: Histories,
    scripts: Scripts,
    patience: Duration,
    capacity: u64,
    clock: Arc<dyn Clock>,
}

impl RedisStore {
    /// A store for `capacity` entries behind `redis`, whose answers take `patience` at most. Redis may be
    /// away: then nothing is promised until it is there.
    ///
    /// # Errors
    /// [`NoEntropy`] where the process cannot be given a name.
    pub fn new(
        redis: Redis,
        patience: Duration,
        capacity: u64,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, NoEntropy> {
        let histories = Histories::new(redis, Arc::clone(&clock), entropy)?;
        Ok(Self { histories, scripts: Scripts::new(), patience, capacity, clock })
    }

    /// Takes a step on `key`. `more` are the script's own arguments, given how many keys the server may
    /// hold.
    async fn step(
        &self,
        script: &Script,
        key: &Key,
        now: UnixTime,
        more: impl FnOnce(u64) -> Vec<Vec<u8>> + Send,
    ) -> Result<Answer, StoreError> {
        self.in_time(async {
            let known = self.histories.known().await?;
            let number = tag_of(key);
            let part = known.part(number).ok_or_else(strange)?;
            self.histories.check_part(part)?;
            let mut args = self.histories.belief(&part.tag, &part.run, now, APART);
            args.extend(more(known.room(number, self.capacity)));
            let answer = Answer::parse(self.histories.step(script, key, &args).await?)?;
            match answer.word.as_str() {
                "forgot" => {
                    self.histories.read(Some(&known)).await?;
                    Err(StoreError::Down("it has forgotten what it held".to_owned()))
                }
                "moved" => {
                    self.histories.read(Some(&known)).await?;
                    Err(StoreError::Down("it is another server, or was started anew".to_owned()))
                }
                "behind" => {
                    let why = "its clock is minutes ahead of this machine's";
                    Err(StoreError::Down(why.to_owned()))
                }
                _ => {
                    known.hear(number, &answer);
                    Ok(answer)
                }
            }
        })
        .await
    }

    /// Whatever happens, nobody waits longer than was said.
    async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let late = |_| Err(StoreError::Down("Redis gave no answer in time".to_owned()));
        timeout(self.patience, work).await.unwrap_or_else(late)
    }
}

#[async_trait]
impl Store for RedisStore {
    async fn insert(
        &self,
        key: Key,
        nonce: Nonce,
        value: Bytes,
        until: UnixTime,
    ) -> Result<Insert, StoreError> {
        let row = entry_row(nonce, &value, until);
        let more = |room| vec![row, nonce.0.to_vec(), moment(until), drop_at(until), number(room)];
        let answer = self.step(&self.scripts.insert, &key, self.clock.now(), more).await?;
        match (answer.word.as_str(), answer.value) {
            ("first", _) => Ok(Insert::First),
            ("held", Some(value)) => Ok(Insert::Held(value.into())),
            ("late", _) => Err(StoreError::Late),
            ("full", _) => Err(StoreError::Full),
            _ => Err(strange()),
        }
    }

    async fn get(&self, key: Key) -> Result<Option<Bytes>, StoreError> {
        let answer = self.step(&self.scripts.get, &key, self.clock.now(), |_| Vec::new()).await?;
        match (answer.word.as_str(), answer.value) {
            ("found", Some(value)) => Ok(Some(value.into())),
            ("none", _) => Ok(None),
            _ => Err(strange()),
        }
    }

    async fn claim(
        &self,
        key: Key,
        nonce: Nonce,
        lease_until: UnixTime,
    ) -> Result<Claim, StoreError> {
        let now = self.clock.now();
        let (lease, watch) = (lease_until.since(now), self.clock.monotonic());
        let row = claim_row(nonce, self.histories.process(), watch.saturating_add(lease));
        let more = |room| vec![row, nonce.0.to_vec(), length(lease), number(room), length(watch)];
        let answer = self.step(&self.scripts.claim, &key, now, more).await?;
        match (answer.word.as_str(), answer.value) {
            ("mine", _) => Ok(Claim::Mine),
            ("busy", _) => Ok(Claim::Busy),
            ("settled", Some(value)) => Ok(Claim::Settled(value.into())),
            ("late", _) => Err(StoreError::Late),
            ("full", _) => Err(StoreError::Full),
            _ => Err(strange()),
        }
    }

    async fn settle(
        &self,
        key: Key,
        nonce: Nonce,
        value: Bytes,
        until: UnixTime,
    ) -> Result<(), StoreError> {
        let row = entry_row(nonce, &value, until);
        let watch = length(self.clock.monotonic());
        let more = |_| vec![row, nonce.0.to_vec(), drop_at(until), watch];
        let answer = self.step(&self.scripts.settle, &key, self.clock.now(), more).await?;
        match answer.word.as_str() {
            "done" => Ok(()),
            "lost" => Err(StoreError::LeaseLost),
            _ => Err(strange()),
        }
    }

    async fn release(&self, key: Key, nonce: Nonce) -> Result<(), StoreError> {
        let more = |_| vec![nonce.0.to_vec()];
        let answer = self.step(&self.scripts.release, &key, self.clock.now(), more).await?;
        if answer.word == "done" { Ok(()) } else { Err(strange()) }
    }

    fn incarnation(&self) -> Result<Incarnation, StoreError> {
        let known = self
            .histories
            .latest()
            .ok_or_else(|| StoreError::Down("Redis has not been reached yet".to_owned()))?;
        self.histories.check_pause(&known)?;
        Ok(known.incarnation)
    }

    fn has_forgotten(&self) -> bool {
        self.histories.latest().is_some_and(|known| known.follows)
    }

    /// Every key of Redis' database counts, whoever wrote it.
    fn fill(&self) -> Fill {
        let entries = self.histories.latest().map_or(0, |known| known.entries());
        Fill { entries, capacity: self.capacity, memory: self.histories.memory() }
    }

    /// Looks at all histories, and has every server of Redis take a write.
    async fn ready(&self) -> Result<(), StoreError> {
        let before = self.clock.now();
        let look = self.in_time(self.histories.look()).await?;
        self.histories.check_usable(&look.known)?;
        if let Some(part) = look.known.first_usable() {
            self.histories.check_part(part)?;
        }
        check_clocks(&look.told, before, self.clock.now())?;
        look.room?;
        if look.known.entries() >= self.capacity { Err(StoreError::Full) } else { Ok(()) }
    }
}

/// Whether Redis' clocks, read between `before` and `after`, are near enough to this machine's.
fn check_clocks(told: &[Told], before: UnixTime, after: UnixTime) -> Result<(), StoreError> {
    let here = || told.iter().map(|told| UnixTime::from_millis(told.here));
    let ahead = here().map(|here| here.since(after)).max().unwrap_or_default();
    let behind = here().map(|here| before.since(here)).max().unwrap_or_default();
    let apart = ahead.max(behind);
    if apart <= APART {
        return Ok(());
    }
    Err(StoreError::Down(format!(
        "the clocks of Redis and of this machine are {} s apart: set both by the same time server",
        apart.as_secs()
    )))
}
