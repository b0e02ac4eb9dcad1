//! What this replica remembers of tokens by itself: of clients that would rather get their cards than
//! be certain across replicas while the store is away.
//!
//! Every token that is accepted is put here first, whether the store took it or could not: so a token
//! is accepted at one replica at most once, also around the moment in which the store goes away or
//! comes back. Nothing is dropped before its time. What the store has missed is handed over to it when
//! it is back.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::future::join_all;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::clock::{Clock, UnixTime};
use crate::entropy::{Entropy, NoEntropy};
use crate::gateway::replay::token::{Token, Use};
use crate::names::ClientId;
use crate::store::memory::MemoryStore;
use crate::store::{Insert, Key, Store, StoreError};

/// Tokens that one replica remembers: about 20 MB, and what a client that calls 100 times a second for
/// five and a half minutes needs three times over.
pub const CAPACITY: u64 = 100_000;
/// How many are handed over at a time.
const AT_ONCE: usize = 64;

/// What can be seen of it from outside.
#[derive(Debug)]
pub struct Metrics {
    owed: Gauge,
    used_elsewhere: Counter,
}

impl Metrics {
    /// Metrics that are scraped from `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self { owed: Gauge::default(), used_elsewhere: Counter::default() };
        registry.register(
            "hookgate_local_tokens_owed",
            "Tokens that this replica alone knows as used, until the store is back",
            metrics.owed.clone(),
        );
        registry.register(
            "hookgate_local_tokens_used_elsewhere",
            "Tokens that were used here while the store was away, and at another replica too",
            metrics.used_elsewhere.clone(),
        );
        metrics
    }
}

/// This replica's own memory of used tokens.
#[derive(Debug)]
pub struct Local {
    clients: HashSet<ClientId>,
    memory: MemoryStore,
    /// Unix time in seconds. Of tokens issued earlier nobody here knows whether they were used.
    since: AtomicU64,
    /// Used here, and not known to the store; by their end.
    owed: Mutex<BTreeMap<(UnixTime, Key), Token>>,
    alone: AtomicBool,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
}

impl Local {
    /// An empty memory for `capacity` tokens of these clients.
    ///
    /// # Errors
    /// [`NoEntropy`] where it cannot be made.
    pub fn new(
        clients: HashSet<ClientId>,
        capacity: u64,
        clock: Arc<dyn Clock>,
        entropy: &dyn Entropy,
        metrics: Metrics,
    ) -> Result<Self, NoEntropy> {
        Ok(Self {
            clients,
            memory: MemoryStore::new(capacity, Arc::clone(&clock), entropy)?,
            // A former process at this place may have accepted what was issued before.
            since: AtomicU64::new(clock.now().secs()),
            owed: Mutex::default(),
            alone: AtomicBool::new(false),
            clock,
            metrics,
        })
    }

    /// Whether `client` goes on without the store.
    pub fn is_for(&self, client: &ClientId) -> bool {
        self.clients.contains(client)
    }

    /// Whether any client does.
    pub fn is_for_anybody(&self) -> bool {
        !self.clients.is_empty()
    }

    /// Remembers a token about which the store has spoken. A token that went on here while the store
    /// was away is used, whatever the store knows.
    ///
    /// # Errors
    /// [`StoreError::Late`] where its time is over meanwhile.
    pub async fn confirm(&self, token: &Token, said: Use) -> Result<Use, StoreError> {
        let kept = match &said {
            Use::First => token.request.clone(),
            Use::Again(request) => request.clone(),
        };
        match (self.memory.insert(token.key, token.nonce, kept, token.until).await, said) {
            (Ok(Insert::Held(request)), Use::First) => Ok(Use::Again(request)),
            (Ok(_), said) => Ok(said),
            (Err(StoreError::Late), _) => Err(StoreError::Late),
            (Err(StoreError::Full | StoreError::Down(_) | StoreError::LeaseLost), said) => {
                // It could come back later, when there is room and the store is away: then nothing as
                // old as it is accepted.
                let after = token.issued_at.secs().saturating_add(1);
                self.since.fetch_max(after, Ordering::Relaxed);
                Ok(said)
            }
        }
    }

    /// Spends a token that the store cannot take because of `trouble`.
    ///
    /// # Errors
    /// `trouble` where nobody here can tell whether it was used: it is from before this replica's
    /// memory, or there is no room. [`StoreError::Late`] where its time is over meanwhile.
    pub async fn spend(&self, token: &Token, trouble: StoreError) -> Result<Use, StoreError> {
        if token.issued_at.secs() < self.since.load(Ordering::Relaxed) {
            return Err(trouble);
        }
        let request = token.request.clone();
        match self.memory.insert(token.key, token.nonce, request, token.until).await {
            Ok(Insert::First) => {
                self.owe(token.clone());
                if !self.alone.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        error = %trouble,
                        "the store cannot take tokens: those of clients with when_store_down = \
                         \"local\" are known to this replica alone"
                    );
                }
                Ok(Use::First)
            }
            Ok(Insert::Held(request)) => Ok(Use::Again(request)),
            Err(StoreError::Late) => Err(StoreError::Late),
            Err(StoreError::Full | StoreError::Down(_) | StoreError::LeaseLost) => Err(trouble),
        }
    }

    /// Tells a store that works again what it has missed. What it cannot take is kept for the next time.
    ///
    /// A token that another replica let pass too, because neither knew of the other, is found out now:
    /// it is counted and logged, which is all that can be done about it.
    pub async fn hand_over(&self, store: &dyn Store) {
        let (mut handed_over, mut used_elsewhere) = (0_u64, 0_u64);
        loop {
            let batch = self.take();
            let inserts = batch.iter().map(|token| {
                store.insert(token.key, token.nonce, token.request.clone(), token.until)
            });
            let answers = join_all(inserts).await;
            let (asked, mut kept) = (batch.len(), 0);
            for (token, answer) in batch.into_iter().zip(answers) {
                match answer {
                    Ok(Insert::First) => handed_over = handed_over.saturating_add(1),
                    Ok(Insert::Held(_)) => used_elsewhere = used_elsewhere.saturating_add(1),
                    Err(StoreError::Late) => {}
                    Err(StoreError::Full | StoreError::Down(_) | StoreError::LeaseLost) => {
                        kept += 1;
                        self.owe(token);
                    }
                }
            }
            if asked == 0 || kept > 0 {
                break;
            }
        }
        self.metrics.used_elsewhere.inc_by(used_elsewhere);
        if self.owed().is_empty() && self.alone.swap(false, Ordering::Relaxed) {
            tracing::info!(
                handed_over,
                used_elsewhere,
                "the store takes tokens again, and knows those that were used meanwhile"
            );
        }
    }

    /// Notes that the store does not know this one. There are never more than the memory has room for,
    /// beside those that have ended.
    fn owe(&self, token: Token) {
        let now = self.clock.now();
        let mut owed = self.owed();
        while owed.first_key_value().is_some_and(|((until, _), _)| *until <= now) {
            owed.pop_first();
        }
        owed.insert((token.until, token.key), token);
        self.show(&owed);
    }

    fn take(&self) -> Vec<Token> {
        let mut owed = self.owed();
        let taken = std::iter::from_fn(|| owed.pop_first()).take(AT_ONCE);
        let taken = taken.map(|(_, token)| token).collect();
        self.show(&owed);
        taken
    }

    fn show(&self, owed: &BTreeMap<(UnixTime, Key), Token>) {
        self.metrics.owed.set(i64::try_from(owed.len()).unwrap_or(i64::MAX));
    }

    /// What a poisoned lock guards is whole: every change is one call.
    fn owed(&self) -> MutexGuard<'_, BTreeMap<(UnixTime, Key), Token>> {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;

    use super::*;
    use crate::clock::ManualClock;
    use crate::entropy::SeededEntropy;
    use crate::store::{Namespace, Nonce};

    const NOW: UnixTime = UnixTime::from_secs(1_795_456_800);

    struct Replica {
        clock: ManualClock,
        store: MemoryStore,
        local: Local,
    }

    impl Replica {
        fn with_room_for(tokens: u64) -> Self {
            let clock = ManualClock::new(NOW);
            let (ticks, entropy): (Arc<dyn Clock>, _) =
                (Arc::new(clock.clone()), SeededEntropy::new(1));
            let store = MemoryStore::new(100, Arc::clone(&ticks), &entropy).unwrap();
            let metrics = Metrics::register(&mut Registry::default());
            let clients = HashSet::from([ClientId::new("ehr").unwrap()]);
            let local = Local::new(clients, tokens, ticks, &entropy, metrics).unwrap();
            Self { clock, store, local }
        }

        /// The `number`th attempt with a token of that name, issued now.
        fn token(&self, name: u8, number: u8) -> Token {
            let now = self.clock.now();
            Token {
                key: Key::new(Namespace::Jti, &[&[name]]),
                nonce: Nonce([number; 16]),
                request: Bytes::copy_from_slice(&[name, number]),
                issued_at: now,
                until: now.plus(Duration::from_secs(330)),
            }
        }

        async fn spend(&self, token: &Token) -> Result<Use, String> {
            self.local.spend(token, down()).await.map_err(|error| error.to_string())
        }
    }

    fn down() -> StoreError {
        StoreError::Down("the line is cut".to_owned())
    }

    fn again(name: u8, number: u8) -> Use {
        Use::Again(Bytes::copy_from_slice(&[name, number]))
    }

    #[tokio::test]
    async fn a_token_is_accepted_once_whoever_keeps_it() {
        let replica = Replica::with_room_for(10);
        let local = &replica.local;
        assert_eq!(local.confirm(&replica.token(1, 1), Use::First).await.unwrap(), Use::First);
        assert_eq!(replica.spend(&replica.token(1, 2)).await, Ok(again(1, 1)), "the store had it");
        assert_eq!(replica.spend(&replica.token(2, 1)).await, Ok(Use::First));
        assert_eq!(replica.spend(&replica.token(2, 2)).await, Ok(again(2, 1)));
        let back = local.confirm(&replica.token(2, 3), Use::First).await.unwrap();
        assert_eq!(back, again(2, 1), "the store that came back knows nothing of it");
        let elsewhere = local.confirm(&replica.token(3, 1), again(3, 9)).await.unwrap();
        assert_eq!(elsewhere, again(3, 9));
        assert_eq!(replica.spend(&replica.token(3, 2)).await, Ok(again(3, 9)), "seen to be used");
        let ended = replica.token(4, 1);
        replica.clock.advance(Duration::from_secs(330));
        assert_eq!(replica.spend(&ended).await, Err(StoreError::Late.to_string()));
    }

    #[tokio::test]
    async fn what_is_older_than_its_memory_waits_for_the_store() {
        let replica = Replica::with_room_for(10);
        let refused = Err(down().to_string());
        let issued =
            |ago| Token { issued_at: NOW.minus(Duration::from_millis(ago)), ..replica.token(1, 1) };
        assert_eq!(replica.spend(&issued(1)).await, refused);
        assert_eq!(replica.spend(&issued(0)).await, Ok(Use::First));
    }

    #[tokio::test]
    async fn without_room_nothing_goes_on_and_nothing_comes_back_later() {
        let replica = Replica::with_room_for(1);
        let refused = Err(down().to_string());
        assert_eq!(replica.spend(&replica.token(1, 1)).await, Ok(Use::First));
        assert_eq!(replica.spend(&replica.token(2, 1)).await, refused);
        replica.clock.advance(Duration::from_secs(10));
        let missed = replica.token(3, 1);
        let said = replica.local.confirm(&missed, Use::First).await.unwrap();
        assert_eq!(said, Use::First, "the store keeps it");
        replica.clock.advance(Duration::from_secs(325));
        let later = Token { nonce: Nonce([2; 16]), ..missed };
        assert_eq!(replica.spend(&later).await, refused, "there is room, and it was not seen");
        assert_eq!(replica.spend(&replica.token(4, 1)).await, Ok(Use::First));
    }

    #[tokio::test]
    async fn the_store_is_told_what_it_missed() {
        let replica = Replica::with_room_for(1000);
        let (local, store) = (&replica.local, &replica.store);
        for name in 0..200 {
            assert_eq!(replica.spend(&replica.token(name, 1)).await, Ok(Use::First));
        }
        let there = replica.token(7, 9);
        let other = store.insert(there.key, there.nonce, there.request, there.until).await;
        assert_eq!(other.unwrap(), Insert::First, "at another replica");
        assert_eq!(local.metrics.owed.get(), 200);
        local.hand_over(store).await;
        assert_eq!(store.fill().entries, 100, "it is full");
        assert_eq!(local.metrics.owed.get(), 200 - 100);
        assert!(local.alone.load(Ordering::Relaxed));
        assert_eq!(local.metrics.used_elsewhere.get(), 1);
        let (clock, entropy) = (Arc::new(replica.clock.clone()), SeededEntropy::new(2));
        let roomy = MemoryStore::new(1000, clock, &entropy).unwrap();
        local.hand_over(&roomy).await;
        assert_eq!((roomy.fill().entries, local.metrics.owed.get()), (100, 0));
        assert!(!local.alone.load(Ordering::Relaxed));
        for name in 0..200 {
            let token = replica.token(name, 5);
            let mut known = false;
            for store in [store, &roomy] {
                known |= store.get(token.key).await.unwrap().is_some();
            }
            assert!(known, "{name}");
            assert_eq!(replica.spend(&token).await, Ok(again(name, 1)), "and it is known here");
        }
    }

    #[tokio::test]
    async fn what_has_ended_is_owed_to_nobody() {
        let replica = Replica::with_room_for(3);
        for round in 0..20 {
            assert_eq!(replica.spend(&replica.token(round, 1)).await, Ok(Use::First));
            replica.clock.advance(Duration::from_secs(120));
        }
        assert!(replica.local.metrics.owed.get() <= 3);
    }
}
