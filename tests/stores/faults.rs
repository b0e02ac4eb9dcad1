//! A disk that fails or forgets: no answer before the sync, no answer from what may be lost.

use std::sync::Arc;
use std::time::Duration;

use hookgate::clock::ManualClock;
use hookgate::entropy::SystemEntropy;
use hookgate::store::disk::DiskStore;
use hookgate::store::{Claim, Insert, Nonce, Store, StoreError};

use crate::backends::{START, at, key, nonce, value};
use crate::medium::{Faults, FickleDisk};

const RETRY: Duration = Duration::from_secs(60);

fn store_on(disk: &FickleDisk, clock: &ManualClock) -> DiskStore {
    let entropy = Arc::new(SystemEntropy::default());
    DiskStore::on(Arc::new(disk.clone()), 10_000, Arc::new(clock.clone()), entropy).unwrap()
}

async fn insert(store: &DiskStore, n: u64, by: Nonce) -> Result<Insert, StoreError> {
    store.insert(key(n), by, value(n), at(3600)).await
}

/// A small generator: which unsynced writes survive must differ from round to round and repeat.
fn coin(seed: u64) -> impl FnMut() -> bool {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state & 1 == 1
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_answered_survives_the_loss_of_all_that_was_not_synced() {
    let (disk, clock) = (FickleDisk::new(), ManualClock::new(START));
    let mut answered = Vec::new();
    for round in 0..40 {
        let store = Arc::new(store_on(&disk, &clock));
        let incarnation = store.incarnation().unwrap();
        let tasks: Vec<_> = (0..20)
            .map(|n| {
                let (store, n) = (Arc::clone(&store), round * 100 + n);
                tokio::spawn(async move { (n, insert(&store, n, nonce()).await) })
            })
            .collect();
        for (number, task) in tasks.into_iter().enumerate() {
            if number == 15 {
                disk.crash(coin(round));
            }
            if let (n, Ok(first)) = task.await.unwrap() {
                assert_eq!(first, Insert::First);
                answered.push(n);
            }
        }
        drop(store);
        let store = store_on(&disk, &clock);
        assert_eq!(store.incarnation().unwrap(), incarnation);
        for n in &answered {
            let again = insert(&store, *n, nonce()).await.unwrap();
            assert_eq!(again, Insert::Held(value(*n)), "{n} after round {round}");
        }
    }
    assert!(answered.len() >= 40 * 15, "{}", answered.len());
}

#[tokio::test]
async fn a_settled_delivery_survives_and_a_claim_does_not() {
    let (disk, clock) = (FickleDisk::new(), ManualClock::new(START));
    let store = store_on(&disk, &clock);
    let mine = nonce();
    assert_eq!(store.claim(key(1), mine, at(60)).await.unwrap(), Claim::Mine);
    assert_eq!(store.claim(key(2), mine, at(60)).await.unwrap(), Claim::Mine);
    store.settle(key(1), mine, value(1), at(600)).await.unwrap();
    disk.crash(|| false);
    drop(store);
    let store = store_on(&disk, &clock);
    let other = nonce();
    assert_eq!(store.claim(key(1), other, at(60)).await.unwrap(), Claim::Settled(value(1)));
    assert_eq!(store.claim(key(2), other, at(60)).await.unwrap(), Claim::Mine);
}

#[tokio::test]
async fn nobody_is_first_while_the_disk_fails() {
    let faults = [
        Faults { sync: true, ..Faults::default() },
        Faults { write: true, ..Faults::default() },
        Faults { write: true, read: true, sync: true },
    ];
    for fault in faults {
        let (disk, clock) = (FickleDisk::new(), ManualClock::new(START));
        let store = store_on(&disk, &clock);
        assert_eq!(insert(&store, 1, nonce()).await.unwrap(), Insert::First);
        disk.set_faults(fault);
        for n in 2..30 {
            let result = insert(&store, n, nonce()).await;
            assert!(matches!(result, Err(StoreError::Down(_))), "{fault:?} {n}: {result:?}");
            assert!(matches!(store.ready().await, Err(StoreError::Down(_))));
            assert!(matches!(store.get(key(1)).await, Err(StoreError::Down(_))));
            clock.advance(RETRY);
        }
        disk.set_faults(Faults::default());
        clock.advance(RETRY);
        store.ready().await.unwrap();
        assert_eq!(insert(&store, 1, nonce()).await.unwrap(), Insert::Held(value(1)));
        assert_eq!(insert(&store, 50, nonce()).await.unwrap(), Insert::First);
    }
}

#[tokio::test]
async fn an_attempt_whose_commit_failed_learns_its_fate_by_its_nonce() {
    let (disk, clock) = (FickleDisk::new(), ManualClock::new(START));
    let store = store_on(&disk, &clock);
    let mine = nonce();
    disk.set_faults(Faults { sync: true, ..Faults::default() });
    assert!(insert(&store, 1, mine).await.is_err());
    disk.set_faults(Faults::default());
    clock.advance(RETRY);
    assert_eq!(insert(&store, 1, mine).await.unwrap(), Insert::First);
    assert_eq!(insert(&store, 1, nonce()).await.unwrap(), Insert::Held(value(1)));
}

/// After a failed sync the pages look written and are not: building on them would lose what is
/// answered later.
#[tokio::test]
async fn what_a_failed_sync_left_behind_is_not_built_upon() {
    for round in 0..20 {
        let (disk, clock) = (FickleDisk::new(), ManualClock::new(START));
        let store = store_on(&disk, &clock);
        let mine = nonce();
        for n in 0..20 {
            assert_eq!(insert(&store, n, nonce()).await.unwrap(), Insert::First);
        }
        disk.set_faults(Faults { sync: true, ..Faults::default() });
        assert!(insert(&store, 100, mine).await.is_err());
        disk.set_faults(Faults::default());
        clock.advance(RETRY);
        let before = insert(&store, 100, mine).await.unwrap();
        assert_eq!(before, Insert::First);
        for n in 20..20 + round {
            assert_eq!(insert(&store, n, nonce()).await.unwrap(), Insert::First);
        }
        disk.crash(|| false);
        drop(store);
        let store = store_on(&disk, &clock);
        for n in (0..20 + round).chain([100]) {
            let again = insert(&store, n, nonce()).await.unwrap();
            assert_eq!(again, Insert::Held(value(n)), "{n} in round {round}");
        }
    }
}

/// The same across a restart: the earlier process never answered, the next one must not build on
/// what it left.
#[tokio::test]
async fn a_restart_after_a_failed_sync_does_not_build_upon_it() {
    let (disk, clock) = (FickleDisk::new(), ManualClock::new(START));
    let store = store_on(&disk, &clock);
    assert_eq!(insert(&store, 1, nonce()).await.unwrap(), Insert::First);
    disk.set_faults(Faults { sync: true, ..Faults::default() });
    assert!(insert(&store, 2, nonce()).await.is_err());
    drop(store);
    disk.set_faults(Faults::default());
    let store = store_on(&disk, &clock);
    assert_eq!(insert(&store, 3, nonce()).await.unwrap(), Insert::First);
    disk.crash(|| false);
    drop(store);
    let store = store_on(&disk, &clock);
    for n in [1, 3] {
        assert_eq!(insert(&store, n, nonce()).await.unwrap(), Insert::Held(value(n)), "{n}");
    }
}

#[tokio::test]
async fn a_claim_whose_batch_failed_is_nobodys() {
    let (disk, clock) = (FickleDisk::new(), ManualClock::new(START));
    let store = store_on(&disk, &clock);
    disk.set_faults(Faults { sync: true, ..Faults::default() });
    // Asked for at the same time, so that the claim waits for a commit that fails.
    let (first, claim) =
        tokio::join!(insert(&store, 1, nonce()), store.claim(key(2), nonce(), at(7200)),);
    assert!(first.is_err());
    disk.set_faults(Faults::default());
    clock.advance(RETRY);
    if claim.is_err() {
        assert_eq!(store.claim(key(2), nonce(), at(7200)).await.unwrap(), Claim::Mine);
    }
}

#[tokio::test]
async fn a_delivery_whose_settling_failed_can_be_settled_again() {
    let (disk, clock) = (FickleDisk::new(), ManualClock::new(START));
    let store = store_on(&disk, &clock);
    let mine = nonce();
    assert_eq!(store.claim(key(1), mine, at(3600)).await.unwrap(), Claim::Mine);
    disk.set_faults(Faults { sync: true, ..Faults::default() });
    assert!(store.settle(key(1), mine, value(1), at(7200)).await.is_err());
    disk.set_faults(Faults::default());
    clock.advance(RETRY);
    store.settle(key(1), mine, value(1), at(7200)).await.unwrap();
    assert_eq!(store.claim(key(1), nonce(), at(3600)).await.unwrap(), Claim::Settled(value(1)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn callers_who_wait_together_share_syncs() {
    let (disk, clock) = (FickleDisk::new(), ManualClock::new(START));
    let store = Arc::new(store_on(&disk, &clock));
    let before = disk.syncs();
    let all = (0..256).map(|n| {
        let store = Arc::clone(&store);
        async move { insert(&store, n, nonce()).await }
    });
    // Polled by one task, all are asked for before the first answer can be looked at.
    for first in futures_util::future::join_all(all).await {
        assert_eq!(first.unwrap(), Insert::First);
    }
    let spent = disk.syncs() - before;
    assert!((1..64).contains(&spent), "{spent} syncs for 256 spends");
}

#[tokio::test]
async fn looking_and_losing_need_no_sync() {
    let (disk, clock) = (FickleDisk::new(), ManualClock::new(START));
    let store = store_on(&disk, &clock);
    let mine = nonce();
    assert_eq!(insert(&store, 1, nonce()).await.unwrap(), Insert::First);
    let before = disk.syncs();
    assert_eq!(insert(&store, 1, nonce()).await.unwrap(), Insert::Held(value(1)));
    assert_eq!(store.get(key(1)).await.unwrap(), Some(value(1)));
    assert_eq!(store.claim(key(2), mine, at(60)).await.unwrap(), Claim::Mine);
    store.release(key(2), mine).await.unwrap();
    assert_eq!(disk.syncs(), before);
}

#[tokio::test]
async fn closing_finishes_what_was_asked_for() {
    let (disk, clock) = (FickleDisk::new(), ManualClock::new(START));
    let store = store_on(&disk, &clock);
    // Each is polled once, so it is in the queue; nobody waits for the answer.
    for n in 0..500 {
        let mut asked = Box::pin(insert(&store, n, nonce()));
        let _ = futures_util::poll!(&mut asked);
    }
    drop(store);
    let store = store_on(&disk, &clock);
    for n in 0..500 {
        assert_eq!(store.get(key(n)).await.unwrap(), Some(value(n)), "{n}");
    }
}

#[tokio::test]
async fn an_idle_store_sweeps_what_has_ended() {
    let (disk, clock) = (FickleDisk::new(), ManualClock::new(START));
    let store = store_on(&disk, &clock);
    let all = (0..2_500).map(|n| insert(&store, n, nonce()));
    for first in futures_util::future::join_all(all).await {
        assert_eq!(first.unwrap(), Insert::First);
    }
    assert_eq!(store.fill().entries, 2_500);
    clock.advance(Duration::from_secs(3600));
    // Nobody asks for anything; how long it takes is the writer's business.
    while store.fill().entries > 0 {
        tokio::task::yield_now().await;
    }
}
