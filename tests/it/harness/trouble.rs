//! A store that can be brought into trouble, as networks, servers and disks do.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use hookgate::clock::{ManualClock, UnixTime};
use hookgate::entropy::SystemEntropy;
use hookgate::store::memory::MemoryStore;
use hookgate::store::{Claim, Fill, Incarnation, Insert, Key, Nonce, Store, StoreError};

/// What is wrong with a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// Nothing.
    None,
    /// It does not answer, and takes no step.
    Down,
    /// The same, and it has not been reached since the start.
    Unreached,
    /// It takes nothing new.
    Full,
    /// Every step takes so long on the scene's clock before it is taken.
    Slow(Duration),
    /// What it gives back is not what was put there.
    Garbled,
    /// It takes every step, and after so many answers one is lost.
    ReplyLost { after: u32 },
    /// The same, and so is every answer to whoever asks for that step again.
    StepLost { after: u32 },
}

impl Trouble {
    fn error(self) -> StoreError {
        match self {
            Self::Full => StoreError::Full,
            Self::None
            | Self::Slow(_)
            | Self::Down
            | Self::Unreached
            | Self::Garbled
            | Self::ReplyLost { .. }
            | Self::StepLost { .. } => StoreError::Down("the line is cut".to_owned()),
        }
    }
}

fn empty(clock: &ManualClock) -> Arc<MemoryStore> {
    let clock = Arc::new(clock.clone());
    Arc::new(MemoryStore::new(10_000, clock, &SystemEntropy::default()).unwrap())
}

/// A store in memory with a line to it that can fail. It outlives the gateway; clones are the same one.
#[derive(Clone, Debug)]
pub(crate) struct TroubledStore {
    store: Arc<Mutex<Arc<MemoryStore>>>,
    clock: ManualClock,
    trouble: Arc<Mutex<Trouble>>,
    asked: Arc<Mutex<u32>>,
    /// The step whose answers are lost.
    losing: Arc<Mutex<Option<Key>>>,
}

impl TroubledStore {
    pub(crate) fn new(clock: &ManualClock) -> Self {
        Self {
            store: Arc::new(Mutex::new(empty(clock))),
            clock: clock.clone(),
            trouble: Arc::new(Mutex::new(Trouble::None)),
            asked: Arc::default(),
            losing: Arc::default(),
        }
    }

    /// From now on this is wrong with it.
    pub(crate) fn gets(&self, trouble: Trouble) {
        *self.trouble.lock().unwrap() = trouble;
        *self.losing.lock().unwrap() = None;
    }

    /// The store behind the line, as another replica meets it.
    pub(crate) fn behind(&self) -> Arc<MemoryStore> {
        Arc::clone(&self.store.lock().unwrap())
    }

    /// It has lost all that it held, and begins a new history.
    pub(crate) fn forgets(&self) {
        *self.store.lock().unwrap() = empty(&self.clock);
    }

    /// How many steps it was asked for, probes not counted.
    pub(crate) fn asked(&self) -> u32 {
        *self.asked.lock().unwrap()
    }

    /// Fails where the step does not reach the store. `new`: it would need room there.
    fn reach(&self, new: bool) -> Result<(), StoreError> {
        *self.asked.lock().unwrap() += 1;
        let trouble = *self.trouble.lock().unwrap();
        match trouble {
            Trouble::None
            | Trouble::Garbled
            | Trouble::ReplyLost { .. }
            | Trouble::StepLost { .. } => Ok(()),
            Trouble::Slow(by) => {
                self.clock.advance(by);
                Ok(())
            }
            Trouble::Down | Trouble::Unreached => Err(trouble.error()),
            Trouble::Full if new => Err(trouble.error()),
            Trouble::Full => Ok(()),
        }
    }

    /// The way back.
    fn reply<T>(&self, key: Key, answer: Result<T, StoreError>) -> Result<T, StoreError> {
        let mut trouble = self.trouble.lock().unwrap();
        let mut losing = self.losing.lock().unwrap();
        let error = trouble.error();
        match *trouble {
            Trouble::ReplyLost { after: 0 } => *trouble = Trouble::None,
            Trouble::StepLost { after: 0 } if *losing.get_or_insert(key) == key => {}
            Trouble::ReplyLost { after } => {
                *trouble = Trouble::ReplyLost { after: after - 1 };
                return answer;
            }
            Trouble::StepLost { after } => {
                *trouble = Trouble::StepLost { after: after.saturating_sub(1) };
                return answer;
            }
            Trouble::None
            | Trouble::Down
            | Trouble::Unreached
            | Trouble::Full
            | Trouble::Slow(_)
            | Trouble::Garbled => return answer,
        }
        Err(error)
    }

    async fn holds(&self, key: Key) -> bool {
        self.behind().get(key).await.unwrap().is_some()
    }
}

#[async_trait]
impl Store for TroubledStore {
    async fn insert(
        &self,
        key: Key,
        nonce: Nonce,
        value: Bytes,
        until: UnixTime,
    ) -> Result<Insert, StoreError> {
        self.reach(!self.holds(key).await)?;
        self.reply(key, self.behind().insert(key, nonce, value, until).await)
    }

    async fn get(&self, key: Key) -> Result<Option<Bytes>, StoreError> {
        self.reach(false)?;
        let mut value = self.behind().get(key).await;
        if *self.trouble.lock().unwrap() == Trouble::Garbled
            && let Ok(Some(value)) = &mut value
        {
            *value = value.iter().map(|byte| byte ^ 0x40).collect();
        }
        self.reply(key, value)
    }

    async fn claim(
        &self,
        key: Key,
        nonce: Nonce,
        lease_until: UnixTime,
    ) -> Result<Claim, StoreError> {
        self.reach(!self.holds(key).await)?;
        self.reply(key, self.behind().claim(key, nonce, lease_until).await)
    }

    async fn settle(
        &self,
        key: Key,
        nonce: Nonce,
        value: Bytes,
        until: UnixTime,
    ) -> Result<(), StoreError> {
        self.reach(false)?;
        self.reply(key, self.behind().settle(key, nonce, value, until).await)
    }

    async fn release(&self, key: Key, nonce: Nonce) -> Result<(), StoreError> {
        self.reach(false)?;
        self.reply(key, self.behind().release(key, nonce).await)
    }

    fn incarnation(&self) -> Result<Incarnation, StoreError> {
        match *self.trouble.lock().unwrap() {
            Trouble::Unreached => Err(Trouble::Unreached.error()),
            Trouble::None
            | Trouble::Down
            | Trouble::Full
            | Trouble::Slow(_)
            | Trouble::Garbled
            | Trouble::ReplyLost { .. }
            | Trouble::StepLost { .. } => self.behind().incarnation(),
        }
    }

    fn has_forgotten(&self) -> bool {
        self.behind().has_forgotten()
    }

    fn fill(&self) -> Fill {
        self.behind().fill()
    }

    async fn ready(&self) -> Result<(), StoreError> {
        let trouble = *self.trouble.lock().unwrap();
        match trouble {
            Trouble::None
            | Trouble::Slow(_)
            | Trouble::Garbled
            | Trouble::ReplyLost { .. }
            | Trouble::StepLost { .. } => self.behind().ready().await,
            Trouble::Down | Trouble::Unreached | Trouble::Full => Err(trouble.error()),
        }
    }
}
