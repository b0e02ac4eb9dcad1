//! What this replica remembers of tokens by itself: of clients that would rather get their cards than
//! be certain across replicas while the store is away.
//!
//! Every token that is accepted is put here first, whether the store took it or could not: so a token
//! is accepted at one replica at most once, also around the moment in which the store goes away or
//! comes back. Nothing is dropped before its time. What the store has missed is handed over to it when
//! it is back.
//!
//! A process that was killed takes with it what the store has missed, and nothing is left that tells of it.
//! So its successor takes no token that may have been used before it began: the store's word that it was
//! not is worth nothing then.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use futures_util::future::join_all;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::clock::{Clock, UnixTime};
use crate::entropy::{Entropy, NoEntropy};
use crate::gateway::replay::share::Share;
use crate::gateway::replay::token::{Token, Use};
use crate::names::ClientId;
use crate::store::{Insert, Key, Store, StoreError};

/// Tokens of one client that one replica remembers: about 10 MB, and half as much again as a client needs
/// that calls 100 times a second for five and a half minutes.
pub const CAPACITY: u64 = 50_000;
/// How far a token's time of issue may lie ahead while the store is away. After each start, calls with
/// tokens from before and for so long after it are refused, since a former process may have accepted them:
/// `client.clock_skew` would be half a minute, and a clock that is kept right is not off by more than this.
const LEAD: Duration = Duration::from_secs(5);
/// How many are handed over at a time.
const AT_ONCE: usize = 64;

/// What can be seen of it from outside. Clones are of the same families.
#[derive(Clone, Debug)]
pub struct Metrics {
    owed: Gauge,
    held: Family<ClientLabels, Gauge>,
    used_elsewhere: Counter,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClientLabels {
    client: String,
}

impl ClientLabels {
    fn of(client: &ClientId) -> Self {
        Self { client: client.as_str().to_owned() }
    }
}

impl Metrics {
    /// Metrics that are scraped from `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            owed: Gauge::default(),
            held: Family::default(),
            used_elsewhere: Counter::default(),
        };
        registry.register(
            "hookgate_local_tokens_owed",
            "Tokens that this replica alone knows as used, until the store is back",
            metrics.owed.clone(),
        );
        registry.register(
            "hookgate_local_tokens_held",
            "Tokens that this replica remembers by itself, ended ones that are not swept yet included",
            metrics.held.clone(),
        );
        registry.register(
            "hookgate_local_tokens_used_elsewhere",
            "Tokens that were used here while the store was away, and at another replica too",
            metrics.used_elsewhere.clone(),
        );
        metrics
    }
}

/// One client's share.
#[derive(Clone, Debug)]
struct Kept {
    share: Arc<Share>,
    /// What was used earlier, somebody may have accepted who did not put it here: a former process at this
    /// place, or this one while the client did not go on without the store.
    began: UnixTime,
    /// No longer after a reload said so. What is remembered still counts until the store knows all of it.
    goes_on: bool,
}

/// This replica's own memory of used tokens.
#[derive(Debug)]
pub struct Local {
    shares: ArcSwap<HashMap<ClientId, Kept>>,
    /// Used here, and not known to the store; by their end.
    owed: Mutex<BTreeMap<(UnixTime, Key), Token>>,
    alone: AtomicBool,
    capacity: u64,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
}

impl Local {
    /// An empty memory for `capacity` tokens of each of these clients.
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
        let local = Self {
            shares: ArcSwap::default(),
            owed: Mutex::default(),
            alone: AtomicBool::new(false),
            capacity,
            clock,
            metrics,
        };
        local.serve(clients, entropy)?;
        Ok(local)
    }

    /// Goes on without the store for these clients from now on, and for no others. Nothing that is remembered
    /// of them is lost. What is remembered of others counts until the next reload that finds nothing owed.
    ///
    /// # Errors
    /// [`NoEntropy`] where there is none for a new client's share; then nothing has changed.
    pub fn serve(
        &self,
        clients: HashSet<ClientId>,
        entropy: &dyn Entropy,
    ) -> Result<(), NoEntropy> {
        let before = self.shares.load_full();
        let all_told = self.owed().is_empty();
        let mut next = HashMap::new();
        for (client, kept) in before.iter() {
            if clients.contains(client) || kept.goes_on || !all_told {
                let goes_on = clients.contains(client);
                next.insert(client.clone(), Kept { goes_on, ..kept.clone() });
            } else {
                self.metrics.held.remove(&ClientLabels::of(client));
            }
        }
        for client in clients {
            if let Entry::Vacant(new) = next.entry(client) {
                let share = Arc::new(self.share(new.key(), entropy)?);
                new.insert(Kept { share, began: self.clock.now(), goes_on: true });
            }
        }
        self.shares.store(Arc::new(next));
        Ok(())
    }

    fn share(&self, client: &ClientId, entropy: &dyn Entropy) -> Result<Share, NoEntropy> {
        let held = self.metrics.held.get_or_create(&ClientLabels::of(client)).clone();
        Share::new(client.clone(), self.capacity, Arc::clone(&self.clock), entropy, held)
    }

    fn kept(&self, client: &ClientId) -> Option<Kept> {
        self.shares.load().get(client).cloned()
    }

    /// That of a client that goes on without the store.
    fn going_on(&self, client: &ClientId) -> Option<Kept> {
        self.kept(client).filter(|kept| kept.goes_on)
    }

    /// Whether `client` goes on without the store.
    pub fn is_for(&self, client: &ClientId) -> bool {
        self.going_on(client).is_some()
    }

    /// Whether any client does.
    pub fn is_for_anybody(&self) -> bool {
        self.shares.load().values().any(|kept| kept.goes_on)
    }

    /// From which time of issue on nobody can have accepted this token elsewhere while the store was away;
    /// nothing where `client` waits for the store.
    pub fn vouches_from(&self, client: &ClientId, token: &Token) -> Option<UnixTime> {
        self.going_on(client).map(|kept| kept.began.plus(token.skew.min(LEAD)))
    }

    /// Remembers a token about which the store has spoken, where `client` goes on without it. A token
    /// that went on here while the store was away is used, whatever the store knows.
    ///
    /// # Errors
    /// [`StoreError::Late`] where its time is over meanwhile.
    pub async fn confirm(
        &self,
        client: &ClientId,
        token: &Token,
        said: Use,
    ) -> Result<Use, StoreError> {
        let Some(Kept { share, .. }) = self.kept(client) else { return Ok(said) };
        let request = match &said {
            Use::First => token.request.clone(),
            Use::Again(request) => request.clone(),
        };
        let known = match share.remember(token, request).await {
            Ok(known) => known,
            Err(StoreError::Late) => return Err(StoreError::Late),
            // It could come back later, when there is room and the store is away.
            Err(StoreError::Full | StoreError::Down(_) | StoreError::LeaseLost) => {
                share.lack(token).await
            }
        };
        Ok(match said {
            Use::First => known,
            Use::Again(_) => said,
        })
    }

    /// Spends a token that the store cannot take because of `trouble`.
    ///
    /// # Errors
    /// `trouble` where nobody here can tell whether it was used, or a successor could not: it may be from
    /// before this replica's memory, its time of issue is too far ahead, or there is no room.
    /// [`StoreError::Late`] where its time is over meanwhile.
    pub async fn spend(
        &self,
        client: &ClientId,
        token: &Token,
        trouble: StoreError,
    ) -> Result<Use, StoreError> {
        let Some(Kept { share, .. }) = self.going_on(client) else { return Err(trouble) };
        let ahead = token.issued_at > self.clock.now().plus(LEAD);
        if ahead || !self.covers(client, token) {
            return Err(trouble);
        }
        match share.remember(token, token.request.clone()).await {
            // The store may have taken it meanwhile, while there was no room.
            Ok(Use::First) if share.may_lack(token) => Err(trouble),
            Ok(used) => {
                self.went_on(token, &used, &trouble);
                Ok(used)
            }
            Err(StoreError::Late) => Err(StoreError::Late),
            Err(StoreError::Full | StoreError::Down(_) | StoreError::LeaseLost) => Err(trouble),
        }
    }

    /// Whether this replica would know if the token had been used here. A former process may have had the
    /// store, where a token may be ahead by all of the skew.
    pub fn covers(&self, client: &ClientId, token: &Token) -> bool {
        self.going_on(client).is_some_and(|kept| {
            token.issued_at >= kept.began.plus(token.skew) && !kept.share.may_lack(token)
        })
    }

    /// Remembers a token that goes on whatever is known of it; whether it had been used is told as far as
    /// it is known here. Nothing where there is no room for it.
    ///
    /// # Errors
    /// [`StoreError::Late`] where its time is over meanwhile.
    pub async fn note(
        &self,
        client: &ClientId,
        token: &Token,
        trouble: &StoreError,
    ) -> Result<Option<Use>, StoreError> {
        let Some(Kept { share, .. }) = self.going_on(client) else { return Ok(None) };
        match share.remember(token, token.request.clone()).await {
            Ok(used) => {
                self.went_on(token, &used, trouble);
                Ok(Some(used))
            }
            Err(StoreError::Late) => Err(StoreError::Late),
            Err(StoreError::Full | StoreError::Down(_) | StoreError::LeaseLost) => Ok(None),
        }
    }

    fn went_on(&self, token: &Token, used: &Use, trouble: &StoreError) {
        if *used != Use::First {
            return;
        }
        self.owe(token.clone());
        if !self.alone.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                error = %trouble,
                "the store cannot take tokens: those of clients with when_store_down = \
                 \"local\" are known to this replica alone"
            );
        }
    }

    /// Tells the store for the last time what it has missed, since nobody will know it afterwards.
    pub async fn leave(&self, store: &dyn Store) {
        self.hand_over(store).await;
        let owed = self.owed().len();
        if owed > 0 {
            tracing::warn!(
                owed,
                "the store does not know these used tokens, and nobody can tell it after this stop: \
                 another replica may let them pass"
            );
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
mod tests;
