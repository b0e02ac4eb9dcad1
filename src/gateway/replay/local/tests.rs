//! What one replica lets pass, and what it does not.

#[cfg(test)]
use super::*;

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;

use crate::clock::ManualClock;
use crate::clock::Sleep;
use crate::entropy::SeededEntropy;
use crate::store::memory::MemoryStore;
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
        let clients = HashSet::from([ehr(), other()]);
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
            skew: Duration::ZERO,
            until: now.plus(Duration::from_secs(330)),
        }
    }

    async fn spend(&self, token: &Token) -> Result<Use, String> {
        self.spend_of(&ehr(), token).await
    }

    async fn spend_of(&self, client: &ClientId, token: &Token) -> Result<Use, String> {
        self.local.spend(client, token, down()).await.map_err(|error| error.to_string())
    }
}

fn ehr() -> ClientId {
    ClientId::new("ehr").unwrap()
}

fn other() -> ClientId {
    ClientId::new("other").unwrap()
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
    assert_eq!(local.confirm(&ehr(), &replica.token(1, 1), Use::First).await.unwrap(), Use::First);
    assert_eq!(replica.spend(&replica.token(1, 2)).await, Ok(again(1, 1)), "the store had it");
    assert_eq!(replica.spend(&replica.token(2, 1)).await, Ok(Use::First));
    assert_eq!(replica.spend(&replica.token(2, 2)).await, Ok(again(2, 1)));
    let back = local.confirm(&ehr(), &replica.token(2, 3), Use::First).await.unwrap();
    assert_eq!(back, again(2, 1), "the store that came back knows nothing of it");
    let elsewhere = local.confirm(&ehr(), &replica.token(3, 1), again(3, 9)).await.unwrap();
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
    let skew = Duration::from_millis(1);
    let by_a_clock_ahead = Token { skew, ..issued(0) };
    assert_eq!(replica.spend(&by_a_clock_ahead).await, refused);
    assert_eq!(replica.spend(&issued(0)).await, Ok(Use::First));
    replica.clock.advance(skew);
    let later = Token { skew, ..replica.token(2, 1) };
    assert_eq!(replica.spend(&later).await, Ok(Use::First));
}

#[tokio::test]
async fn without_room_nothing_goes_on_and_nothing_comes_back_later() {
    let replica = Replica::with_room_for(1);
    let refused = Err(down().to_string());
    assert_eq!(replica.spend(&replica.token(1, 1)).await, Ok(Use::First));
    assert_eq!(replica.spend(&replica.token(2, 1)).await, refused);
    replica.clock.advance(Duration::from_secs(10));
    let missed = replica.token(3, 1);
    let said = replica.local.confirm(&ehr(), &missed, Use::First).await.unwrap();
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

#[tokio::test]
async fn a_client_that_fills_its_room_takes_none_of_another() {
    let replica = Replica::with_room_for(2);
    let held = |client: ClientId| {
        let labels = ClientLabels { client: client.as_str().to_owned() };
        replica.local.metrics.held.get_or_create(&labels).get()
    };
    for name in 0..5 {
        let said = replica.local.confirm(&ehr(), &replica.token(name, 1), Use::First).await;
        assert_eq!(said.unwrap(), Use::First, "the store has them");
    }
    assert_eq!((held(ehr()), held(other())), (2, 0));
    assert_eq!(replica.spend(&replica.token(9, 1)).await, Err(down().to_string()));
    for name in 10..12 {
        let token = replica.token(name, 1);
        assert_eq!(replica.spend_of(&other(), &token).await, Ok(Use::First));
    }
    assert_eq!((held(ehr()), held(other())), (2, 2));
}

#[tokio::test]
async fn without_room_a_token_that_goes_on_all_the_same_is_not_said_to_be_remembered() {
    let replica = Replica::with_room_for(1);
    let note = async |token: Token| replica.local.note(&ehr(), &token, &down()).await.unwrap();
    assert_eq!(note(replica.token(1, 1)).await, Some(Use::First));
    assert_eq!(note(replica.token(1, 2)).await, Some(again(1, 1)));
    assert_eq!(note(replica.token(2, 1)).await, None);
    assert_eq!(replica.local.metrics.owed.get(), 1, "what nobody knows cannot be handed over");
}

type Then = Box<dyn FnOnce() + Send>;

/// A clock that somebody else makes use of while it is looked at.
#[derive(Clone)]
struct Watched {
    clock: ManualClock,
    looks: Arc<Mutex<u32>>,
    then: Arc<Mutex<Option<Then>>>,
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.clock.fmt(f)
    }
}

impl Clock for Watched {
    fn now(&self) -> UnixTime {
        let left = self.looks.lock().unwrap().checked_sub(1);
        *self.looks.lock().unwrap() = left.unwrap_or_default();
        if left == Some(0) {
            let then = self.then.lock().unwrap().take();
            then.unwrap()();
        }
        self.clock.now()
    }

    fn monotonic(&self) -> Duration {
        self.clock.monotonic()
    }

    fn sleep(&self, duration: Duration) -> Sleep<'_> {
        self.clock.sleep(duration)
    }
}

/// While a token is about to be spent here, the store takes it, there is no room for it, and then there is.
#[tokio::test]
async fn what_the_store_took_at_the_edge_of_the_room_is_not_taken_here() {
    for looks in 1..=3 {
        let replica = Replica::with_room_for(1);
        let manual = replica.clock.clone();
        let clock = Watched { clock: manual.clone(), looks: Arc::default(), then: Arc::default() };
        let (ticks, metrics) =
            (Arc::new(clock.clone()), Metrics::register(&mut Registry::default()));
        let clients = HashSet::from([ehr()]);
        let local = Local::new(clients, 1, ticks, &SeededEntropy::new(1), metrics).unwrap();
        let local = Arc::new(local);
        let ends = Token { until: NOW.plus(Duration::from_millis(1)), ..replica.token(1, 1) };
        assert_eq!(local.spend(&ehr(), &ends, down()).await.unwrap(), Use::First);
        let (here, token) = (Arc::clone(&local), replica.token(2, 1));
        *clock.then.lock().unwrap() = Some(Box::new(move || {
            let said = here.confirm(&ehr(), &token, Use::First).now_or_never().unwrap();
            assert_eq!(said.unwrap(), Use::First);
            manual.advance(Duration::from_millis(1));
        }));
        *clock.looks.lock().unwrap() = looks;
        let refused = local.spend(&ehr(), &replica.token(2, 2), down()).await;
        assert!(matches!(refused, Err(StoreError::Down(_))), "{looks}: {refused:?}");
        assert!(clock.then.lock().unwrap().is_none(), "{looks}: it came between");
    }
}

/// The other way about: it was spent here after there had been no room, and before that was noted.
#[tokio::test]
async fn what_was_taken_here_at_the_edge_of_the_room_is_used() {
    let replica = Replica::with_room_for(1);
    let share = replica.local.kept(&ehr()).unwrap().share;
    let ends = Token { until: NOW.plus(Duration::from_millis(1)), ..replica.token(1, 1) };
    assert_eq!(replica.spend(&ends).await, Ok(Use::First));
    let (one, two) = (replica.token(2, 1), replica.token(2, 2));
    let full = share.remember(&one, one.request.clone()).await;
    assert!(matches!(full, Err(StoreError::Full)));
    replica.clock.advance(Duration::from_millis(1));
    assert_eq!(replica.spend(&two).await, Ok(Use::First));
    assert_eq!(share.lack(&one).await, again(2, 2));
}

#[tokio::test]
async fn a_client_that_begins_to_go_on_alone_takes_no_token_from_before() {
    let replica = Replica::with_room_for(10);
    let (local, entropy) = (&replica.local, SeededEntropy::new(2));
    local.serve(HashSet::from([other()]), &entropy).unwrap();
    assert!(!local.is_for(&ehr()) && local.is_for(&other()));
    local.serve(HashSet::from([other()]), &entropy).unwrap();
    let before = replica.token(1, 1);
    let said = local.confirm(&ehr(), &before, Use::First).await.unwrap();
    assert_eq!(said, Use::First, "the store alone knows it");
    replica.clock.advance(Duration::from_secs(1));
    local.serve(HashSet::from([ehr(), other()]), &entropy).unwrap();
    let again = Token { nonce: Nonce([2; 16]), ..before };
    assert_eq!(replica.spend(&again).await, Err(down().to_string()));
    assert_eq!(replica.spend(&replica.token(2, 1)).await, Ok(Use::First));
}

#[tokio::test]
async fn what_the_store_has_missed_counts_though_its_client_does_not_go_on_alone_any_more() {
    let replica = Replica::with_room_for(10);
    let (local, entropy) = (&replica.local, SeededEntropy::new(2));
    assert_eq!(replica.spend(&replica.token(1, 1)).await, Ok(Use::First));
    for _ in 0..3 {
        local.serve(HashSet::from([other()]), &entropy).unwrap();
        let refused = replica.spend(&replica.token(2, 1)).await;
        assert_eq!(refused, Err(down().to_string()));
        // The store is back, and has not been told yet.
        let back = local.confirm(&ehr(), &replica.token(1, 2), Use::First).await.unwrap();
        assert_eq!(back, again(1, 1));
    }
    local.hand_over(&replica.store).await;
    local.serve(HashSet::from([other()]), &entropy).unwrap();
    assert!(local.kept(&ehr()).is_none(), "it takes no room any more");
}
