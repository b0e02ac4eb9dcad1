//! The contract, written once and tried on each backend.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hookgate::store::{Claim, Insert, Key, Namespace, StoreError};

use crate::backends::{BACKENDS, Stand, key, nonce, value};

const FOREVER: u64 = 1_000_000;

async fn on_each(capacity: u64, check: impl AsyncFn(Stand)) {
    for (name, make) in BACKENDS {
        println!("on {name}");
        check(make(capacity).await).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn exactly_one_of_many_racing_callers_is_first() {
    on_each(10_000, async |stand| {
        for round in 0..20 {
            let tasks: Vec<_> = (0..256_u64)
                .map(|n| {
                    let (store, key) = (Arc::clone(&stand.store), key(round * 100 + n % 8));
                    let until = stand.at(60);
                    tokio::spawn(async move {
                        (key, n, store.insert(key, nonce(), value(n), until).await.unwrap())
                    })
                })
                .collect();
            let mut seen = Vec::new();
            for task in tasks {
                seen.push(task.await.unwrap());
            }
            for n in 0..8 {
                let key = key(round * 100 + n);
                let of_key: Vec<_> = seen.iter().filter(|(of, _, _)| *of == key).collect();
                let first: Vec<u64> = of_key
                    .iter()
                    .filter(|(_, _, result)| *result == Insert::First)
                    .map(|(_, n, _)| *n)
                    .collect();
                assert_eq!(first.len(), 1, "{first:?} were first for one key");
                for (_, n, result) in of_key {
                    if *n != first[0] {
                        assert_eq!(*result, Insert::Held(value(first[0])));
                    }
                }
                assert_eq!(stand.store.get(key).await.unwrap(), Some(value(first[0])));
            }
        }
        assert_eq!(stand.fill().await.entries, 160);
    })
    .await;
}

#[tokio::test]
async fn the_attempt_that_won_is_told_so_again() {
    on_each(10, async |stand| {
        let (winner, other) = (nonce(), nonce());
        let insert =
            async |nonce, n| stand.store.insert(key(1), nonce, value(n), stand.at(60)).await;
        assert_eq!(insert(winner, 1).await.unwrap(), Insert::First);
        assert_eq!(insert(other, 2).await.unwrap(), Insert::Held(value(1)));
        assert_eq!(insert(winner, 1).await.unwrap(), Insert::First);
        assert_eq!(insert(other, 2).await.unwrap(), Insert::Held(value(1)));
        assert_eq!(stand.fill().await.entries, 1);
    })
    .await;
}

#[tokio::test]
async fn an_entry_ends_exactly_at_its_until() {
    on_each(10, async |stand| {
        let insert =
            async |n, until| stand.store.insert(key(1), nonce(), value(n), until).await.unwrap();
        assert_eq!(insert(1, stand.at(60)).await, Insert::First);
        stand.clock.advance(Duration::from_millis(59_999));
        assert_eq!(insert(2, stand.at(90)).await, Insert::Held(value(1)));
        assert_eq!(stand.store.get(key(1)).await.unwrap(), Some(value(1)));
        stand.clock.advance(Duration::from_millis(1));
        assert_eq!(stand.store.get(key(1)).await.unwrap(), None);
        assert_eq!(insert(3, stand.at(90)).await, Insert::First);
        stand.clock.advance(Duration::from_millis(29_999));
        assert_eq!(insert(4, stand.at(120)).await, Insert::Held(value(3)));
    })
    .await;
}

/// Two callers who found a token good a moment before its end must not both be first after it.
#[tokio::test]
async fn whoever_comes_after_until_is_never_first() {
    on_each(10, async |stand| {
        let insert = async || stand.store.insert(key(1), nonce(), value(1), stand.at(60)).await;
        assert_eq!(insert().await.unwrap(), Insert::First);
        stand.pass_until(stand.at(60)).await;
        assert!(matches!(insert().await, Err(StoreError::Late)));
        let claim = stand.store.claim(key(2), nonce(), stand.at(60)).await;
        assert!(matches!(claim, Err(StoreError::Late)));
    })
    .await;
}

#[tokio::test]
async fn nothing_that_has_not_ended_is_evicted_and_full_refuses() {
    on_each(100, async |stand| {
        let insert = async |n, until| stand.store.insert(key(n), nonce(), value(n), until).await;
        for n in 0..50 {
            assert_eq!(insert(n, stand.at(60)).await.unwrap(), Insert::First);
        }
        for n in 50..100 {
            assert_eq!(insert(n, stand.at(120)).await.unwrap(), Insert::First);
        }
        assert!(matches!(stand.ready().await, Err(StoreError::Full)));
        for n in 100..400 {
            assert!(matches!(insert(n, stand.at(600)).await, Err(StoreError::Full)), "{n}");
        }
        let claim = stand.store.claim(key(500), nonce(), stand.at(60)).await;
        assert!(matches!(claim, Err(StoreError::Full)));
        for n in 0..100 {
            assert_eq!(insert(n, stand.at(600)).await.unwrap(), Insert::Held(value(n)), "{n}");
        }
        stand.pass_until(stand.at(60)).await;
        stand.ready().await.unwrap();
        for n in 100..150 {
            assert_eq!(insert(n, stand.at(600)).await.unwrap(), Insert::First, "{n}");
        }
        assert!(matches!(insert(150, stand.at(600)).await, Err(StoreError::Full)));
        for n in 50..150 {
            assert_eq!(stand.store.get(key(n)).await.unwrap(), Some(value(n)), "{n}");
        }
        let fill = stand.fill().await;
        assert_eq!((fill.entries, fill.capacity), (100, 100));
    })
    .await;
}

#[tokio::test]
async fn what_has_ended_is_swept_as_work_goes_on() {
    on_each(100_000, async |stand| {
        for n in 0..200 {
            let first = stand.store.insert(key(n), nonce(), value(n), stand.at(60)).await.unwrap();
            assert_eq!(first, Insert::First);
        }
        stand.pass_until(stand.at(60)).await;
        for n in 1000..2000 {
            let first = stand.store.insert(key(n), nonce(), value(n), stand.at(120)).await.unwrap();
            assert_eq!(first, Insert::First);
        }
        assert!(stand.fill().await.entries < 1010, "{:?}", stand.fill().await);
    })
    .await;
}

#[tokio::test]
async fn claimed_work_is_busy_then_settled() {
    on_each(10, async |stand| {
        let (mine, other) = (nonce(), nonce());
        let claim = async |nonce, until| stand.store.claim(key(1), nonce, until).await.unwrap();
        assert_eq!(claim(mine, stand.at(30)).await, Claim::Mine);
        assert_eq!(claim(other, stand.at(30)).await, Claim::Busy);
        assert_eq!(claim(mine, stand.at(40)).await, Claim::Mine);
        assert_eq!(stand.store.get(key(1)).await.unwrap(), None);
        assert_eq!(stand.fill().await.entries, 1);
        stand.store.settle(key(1), mine, value(1), stand.at(600)).await.unwrap();
        assert_eq!(claim(other, stand.at(90)).await, Claim::Settled(value(1)));
        assert_eq!(claim(mine, stand.at(90)).await, Claim::Settled(value(1)));
        assert_eq!(stand.store.get(key(1)).await.unwrap(), Some(value(1)));
        assert_eq!(stand.fill().await.entries, 1);
        stand.pass_until(stand.at(600)).await;
        assert_eq!(claim(other, stand.at(700)).await, Claim::Mine);
    })
    .await;
}

#[tokio::test]
async fn settling_again_with_the_same_nonce_is_done_already() {
    on_each(10, async |stand| {
        let (mine, other) = (nonce(), nonce());
        assert_eq!(stand.store.claim(key(1), mine, stand.at(30)).await.unwrap(), Claim::Mine);
        stand.store.settle(key(1), mine, value(1), stand.at(600)).await.unwrap();
        stand.store.settle(key(1), mine, value(2), stand.at(600)).await.unwrap();
        let lost = stand.store.settle(key(1), other, value(3), stand.at(600)).await;
        assert!(matches!(lost, Err(StoreError::LeaseLost)));
        assert_eq!(stand.store.get(key(1)).await.unwrap(), Some(value(1)));
    })
    .await;
}

#[tokio::test]
async fn released_work_is_free_and_only_its_holder_releases_it() {
    on_each(10, async |stand| {
        let (mine, other) = (nonce(), nonce());
        assert_eq!(stand.store.claim(key(1), mine, stand.at(30)).await.unwrap(), Claim::Mine);
        stand.store.release(key(1), other).await.unwrap();
        assert_eq!(stand.store.claim(key(1), other, stand.at(30)).await.unwrap(), Claim::Busy);
        stand.store.release(key(1), mine).await.unwrap();
        assert_eq!(stand.store.claim(key(1), other, stand.at(30)).await.unwrap(), Claim::Mine);
        let lost = stand.store.settle(key(1), mine, value(1), stand.at(600)).await;
        assert!(matches!(lost, Err(StoreError::LeaseLost)));
        stand.store.release(key(1), other).await.unwrap();
        stand.store.release(key(1), other).await.unwrap();
        assert_eq!(stand.fill().await.entries, 0);
    })
    .await;
}

#[tokio::test]
async fn a_lease_ends_at_its_moment_and_the_next_holder_has_the_work() {
    on_each(10, async |stand| {
        let (mine, other) = (nonce(), nonce());
        assert_eq!(stand.store.claim(key(1), mine, stand.at(30)).await.unwrap(), Claim::Mine);
        stand.clock.advance(Duration::from_millis(29_999));
        assert_eq!(stand.store.claim(key(1), other, stand.at(60)).await.unwrap(), Claim::Busy);
        stand.clock.advance(Duration::from_millis(1));
        let lost = stand.store.settle(key(1), mine, value(1), stand.at(600)).await;
        assert!(matches!(lost, Err(StoreError::LeaseLost)));
        assert_eq!(stand.store.claim(key(1), other, stand.at(60)).await.unwrap(), Claim::Mine);
        stand.store.release(key(1), mine).await.unwrap();
        assert_eq!(stand.store.claim(key(1), mine, stand.at(60)).await.unwrap(), Claim::Busy);
        stand.store.settle(key(1), other, value(2), stand.at(600)).await.unwrap();
        let lost = stand.store.settle(key(1), mine, value(1), stand.at(600)).await;
        assert!(matches!(lost, Err(StoreError::LeaseLost)));
        assert_eq!(
            stand.store.claim(key(1), mine, stand.at(60)).await.unwrap(),
            Claim::Settled(value(2))
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn exactly_one_of_many_racing_claims_has_the_work() {
    on_each(10_000, async |stand| {
        for round in 0..20 {
            let tasks: Vec<_> = (0..128)
                .map(|_| {
                    let (store, until) = (Arc::clone(&stand.store), stand.at(60));
                    tokio::spawn(async move {
                        let mine = nonce();
                        let claim = store.claim(key(round), mine, until).await.unwrap();
                        if claim == Claim::Mine {
                            store.settle(key(round), mine, value(round), until).await.unwrap();
                        }
                        claim
                    })
                })
                .collect();
            let mut mine = 0;
            for task in tasks {
                match task.await.unwrap() {
                    Claim::Mine => mine += 1,
                    Claim::Busy => {}
                    Claim::Settled(found) => assert_eq!(found, value(round)),
                }
            }
            assert_eq!(mine, 1);
        }
    })
    .await;
}

#[tokio::test]
async fn a_settle_finds_room_in_a_full_store() {
    on_each(2, async |stand| {
        let mine = nonce();
        assert_eq!(stand.store.claim(key(1), mine, stand.at(30)).await.unwrap(), Claim::Mine);
        let first = stand.store.insert(key(2), nonce(), value(2), stand.at(60)).await.unwrap();
        assert_eq!(first, Insert::First);
        let full = stand.store.insert(key(3), nonce(), value(3), stand.at(60)).await;
        assert!(matches!(full, Err(StoreError::Full)));
        stand.store.settle(key(1), mine, value(1), stand.at(60)).await.unwrap();
        assert_eq!(stand.fill().await.entries, 2);
    })
    .await;
}

#[tokio::test]
async fn namespaces_are_apart() {
    on_each(10, async |stand| {
        let namespaces = [
            Namespace::Jti,
            Namespace::Link,
            Namespace::Target,
            Namespace::CardIds,
            Namespace::Delivery,
        ];
        for namespace in namespaces {
            let key = Key::new(namespace, &[b"the same"]);
            let first = stand.store.insert(key, nonce(), value(1), stand.at(60)).await.unwrap();
            assert_eq!(first, Insert::First, "{namespace:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn values_of_every_size_come_back_whole() {
    on_each(10, async |stand| {
        for (n, size) in [(1, 0), (2, 1), (3, 4096), (4, 65_536)] {
            let value = Bytes::from_iter((0..size).map(|n: u32| n.to_le_bytes()[0] ^ 0x5a));
            let insert = async || {
                stand.store.insert(key(n), nonce(), value.clone(), stand.at(FOREVER)).await
            };
            assert_eq!(insert().await.unwrap(), Insert::First);
            assert_eq!(insert().await.unwrap(), Insert::Held(value.clone()));
            assert_eq!(stand.store.get(key(n)).await.unwrap(), Some(value));
        }
        assert_eq!(stand.store.get(key(9)).await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn a_new_store_begins_its_history_now() {
    let mut marks = Vec::new();
    for (name, make) in BACKENDS {
        for _ in 0..2 {
            let stand = make(1).await;
            let incarnation = stand.store.incarnation().unwrap();
            assert!(stand.began_now(incarnation.since), "{name}: {incarnation:?}");
            assert!(!stand.store.has_forgotten(), "{name}");
            assert!(!marks.contains(&incarnation.mark), "{name}");
            marks.push(incarnation.mark);
        }
    }
}

/// A wall clock that is wrong for a while and then corrected revives nothing, and ends no work.
#[tokio::test]
async fn a_clock_that_jumps_and_is_corrected_revives_nothing() {
    on_each(10, async |stand| {
        let (mine, other, until) = (nonce(), nonce(), stand.at(300));
        let first = stand.store.insert(key(1), mine, value(1), until).await.unwrap();
        assert_eq!(first, Insert::First);
        assert_eq!(stand.store.claim(key(2), mine, stand.at(120)).await.unwrap(), Claim::Mine);
        // Redis has a clock of its own, and answers nobody who is far from it.
        stand.clock.set(stand.at(100_000));
        for n in 0..5 {
            let again = stand.store.insert(key(1), other, value(2), until).await;
            assert!(matches!(again, Err(StoreError::Late)), "{again:?}");
            let _swept_or_not =
                stand.store.insert(key(10 + n), nonce(), value(n), stand.at(100_060)).await;
            let claim = stand.store.claim(key(2), other, stand.at(100_120)).await;
            assert!(!matches!(claim, Ok(Claim::Mine)), "{claim:?}");
        }
        stand.clock.set(stand.at(18));
        let again = stand.store.insert(key(1), other, value(2), until).await.unwrap();
        assert_eq!(again, Insert::Held(value(1)));
        assert_eq!(stand.store.claim(key(2), other, stand.at(120)).await.unwrap(), Claim::Busy);
        stand.store.settle(key(2), mine, value(3), until).await.unwrap();
    })
    .await;
}
