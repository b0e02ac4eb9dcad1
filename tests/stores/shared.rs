//! Several processes on one Redis, with clocks that differ by minutes: races, answers that get lost, and
//! servers that die or hang.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use hookgate::clock::{Clock, ManualClock, UnixTime};
use hookgate::store::repeat::Repeating;
use hookgate::store::{Claim, Insert, Store, StoreError};

use crate::backends::{drop_ended, key, nonce, now, one, open_redis, patient, value};
use crate::proxy::{Proxy, Way};
use crate::replica::{Replica, WRONG, answered, soon};
use crate::server::RedisServer;

/// Far more than any answer may take: one that never comes is met here.
const FOREVER: Duration = Duration::from_secs(30);

async fn three(server: &RedisServer) -> Vec<Replica> {
    let redis = one(server.address());
    join_all([-WRONG, 0, WRONG].map(|ahead| Replica::ready(&redis, ahead))).await
}

/// The store of a process, asked until it answers.
fn asking(replica: &Replica) -> Repeating {
    patient(Arc::clone(&replica.store) as Arc<dyn Store>)
}

/// What all tasks answer, run at the same time.
async fn all<T: Send + 'static>(
    tasks: impl IntoIterator<Item = impl Future<Output = T> + Send + 'static>,
) -> Vec<T> {
    let tasks: Vec<_> = tasks.into_iter().map(tokio::spawn).collect();
    join_all(tasks).await.into_iter().map(Result::unwrap).collect()
}

fn later(secs: u64) -> UnixTime {
    UnixTime::from_secs(now().secs() + secs)
}

fn is_down<T>(answer: &Result<T, StoreError>) -> bool {
    matches!(answer, Err(StoreError::Down(_)))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_of_all_processes_is_first() {
    let server = RedisServer::start();
    let replicas = three(&server).await;
    let until = later(600);
    for round in 0..20 {
        let seen = all((0..180_u64).map(|n| {
            let store = asking(&replicas[usize::try_from(n % 3).unwrap()]);
            let key = key(round * 100 + n / 3 % 6);
            async move {
                let seen = store.insert(key, nonce(), value(n), until).await.unwrap();
                (key, n, seen)
            }
        }))
        .await;
        for n in 0..6 {
            let key = key(round * 100 + n);
            let of_key: Vec<_> = seen.iter().filter(|(of, ..)| *of == key).collect();
            let first: Vec<_> = of_key.iter().filter(|(.., seen)| *seen == Insert::First).collect();
            assert_eq!(first.len(), 1, "{of_key:?}");
            let held = Insert::Held(value(first[0].1));
            assert!(of_key.iter().filter(|(.., seen)| *seen == held).count() == 29, "{of_key:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn one_of_all_processes_has_the_work_and_it_is_settled_once() {
    let server = RedisServer::start();
    let replicas = three(&server).await;
    for n in 0..30 {
        let seen = all((0..48_usize).map(|caller| {
            let replica = &replicas[caller % 3];
            let (store, until) = (asking(replica), replica.later(60));
            async move {
                let mine = nonce();
                let claim = store.claim(key(n), mine, until).await.unwrap();
                (claim, mine)
            }
        }))
        .await;
        let winners: Vec<_> = seen.iter().filter(|(claim, _)| *claim == Claim::Mine).collect();
        assert_eq!(winners.len(), 1, "{seen:?}");
        assert!(seen.iter().filter(|(claim, _)| *claim == Claim::Busy).count() == 47, "{seen:?}");
        // Its own process and others settle it at once, and somebody who has it not.
        let (winner, until) = (winners[0].1, later(600));
        let other = nonce();
        let settled = all((0..24_usize).map(|caller| {
            let store = asking(&replicas[caller % 3]);
            let by = if caller % 4 == 3 { other } else { winner };
            let value = value(u64::try_from(caller).unwrap());
            async move { (by, store.settle(key(n), by, value, until).await) }
        }))
        .await;
        for (by, settled) in settled {
            match settled {
                Ok(()) => assert_eq!(by, winner),
                Err(StoreError::LeaseLost) => assert_eq!(by, other),
                Err(error) => panic!("{error}"),
            }
        }
        let kept = asking(&replicas[0]).get(key(n)).await.unwrap().unwrap();
        for replica in &replicas {
            let claim = asking(replica).claim(key(n), nonce(), replica.later(60)).await.unwrap();
            assert_eq!(claim, Claim::Settled(kept.clone()));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn work_that_is_given_back_in_one_process_is_free_in_all() {
    let server = RedisServer::start();
    let replicas = three(&server).await;
    let mine = nonce();
    for replica in replicas.iter().cycle().take(30) {
        let claim = asking(replica).claim(key(1), mine, replica.later(60)).await.unwrap();
        assert_eq!(claim, Claim::Mine);
        let seen = all(replicas.iter().cloned().map(|other| async move {
            asking(&other).claim(key(1), nonce(), other.later(60)).await.unwrap()
        }))
        .await;
        assert_eq!(seen, [Claim::Busy, Claim::Busy, Claim::Busy]);
        asking(replica).release(key(1), mine).await.unwrap();
    }
}

/// Over the end of an entry, while Redis drops it by a clock of its own: those whose clocks are behind
/// come after it was dropped.
#[tokio::test]
async fn nobody_is_first_again_after_the_end_whatever_the_clocks_say() {
    let server = RedisServer::start_with(&["--appendonly", "no"]);
    let start = now();
    let until = UnixTime::from_secs(start.secs() + 300);
    let replicas = [-WRONG, 0, WRONG].map(|ahead| {
        let clock =
            ManualClock::new(UnixTime::from_secs(start.secs().saturating_add_signed(ahead)));
        let store = open_redis(&one(server.address()), 1000, Arc::new(clock.clone()));
        (patient(Arc::new(store)), clock)
    });
    // For each key another process is first, at another moment.
    let mut first = [0; 60];
    for step in 0..60_u64 {
        drop_ended(&server.address(), replicas[1].1.now().minus(Duration::from_secs(300)));
        for n in 0..=step {
            for turn in 0..3 {
                let (store, _) = &replicas[usize::try_from((n + turn) % 3).unwrap()];
                match store.insert(key(n), nonce(), value(n), until).await {
                    Ok(Insert::First) => first[usize::try_from(n).unwrap()] += 1,
                    Ok(Insert::Held(_)) | Err(StoreError::Late) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }
        for (_, clock) in &replicas {
            clock.advance(Duration::from_secs(15));
        }
    }
    assert!(first.iter().all(|times| *times <= 1), "{first:?}");
    assert_eq!(first.iter().sum::<u32>(), 28, "until the slowest clock says that it is over");
}

#[tokio::test]
async fn a_process_whose_clock_is_far_behind_gets_no_answer() {
    let server = RedisServer::start();
    let behind = Replica::new(&one(server.address()), -200);
    soon("its clock is far behind", async || {
        let told = behind.insert(1, nonce(), later(600)).await.unwrap_err().to_string();
        told.contains("its clock is minutes ahead of this machine's")
    })
    .await;
    for ahead in [-200, 200] {
        let wrong = Replica::new(&one(server.address()), ahead);
        soon("both clocks are apart", async || {
            let told = wrong.store.ready().await.unwrap_err().to_string();
            told.contains(" s apart: set both by the same time server")
        })
        .await;
    }
}

/// One process behind a proxy, one beside it. The server has each script: what is lost is never the
/// answer that it has it not.
async fn pair(server: &RedisServer) -> (Proxy, Replica, Replica) {
    let proxy = Proxy::to(server.address()).await;
    let far = Replica::ready(&one(proxy.address()), WRONG).await;
    let near = Replica::ready(&one(server.address()), -WRONG).await;
    let (mine, until) = (nonce(), near.later(600));
    let asked = asking(&near);
    let _first_or_not = asked.insert(key(1_000_000), mine, value(0), until).await.unwrap();
    let work = key(1_000_001);
    assert_eq!(asked.claim(work, mine, until).await.unwrap(), Claim::Mine);
    asked.release(work, mine).await.unwrap();
    assert!(asked.settle(work, mine, value(0), until).await.is_err());
    (proxy, far, near)
}

/// Loses the answer to a step that Redis took. What fails because its connection was lost a moment before
/// is never sent, and tried again: the same nonce takes nothing twice.
async fn lose<T>(
    (proxy, server): (&Proxy, &RedisServer),
    far: &Replica,
    step: impl AsyncFn() -> Result<T, StoreError>,
) {
    for _ in 0..100 {
        let before = server.calls("evalsha");
        proxy.set(Way::LosesAnswers);
        assert!(is_down(&step().await));
        if server.calls("evalsha") > before {
            return;
        }
        proxy.set(Way::Open);
        far.reached().await;
    }
    panic!("no step ever reached Redis");
}

#[tokio::test]
async fn whoever_loses_an_answer_finds_out_with_the_same_nonce() {
    let server = RedisServer::start();
    let until = later(600);
    for n in 0..2 {
        // A process that loses one connection after the other waits longer and longer for the next.
        let (proxy, far, near) = pair(&server).await;
        let (way, far_asking, near_asking) = ((&proxy, &server), asking(&far), asking(&near));
        let (insert, delivery) = (n, 100 + n);
        let (mine, other) = (nonce(), nonce());
        let spend = async || far.insert(insert, mine, until).await;
        let claim = async || far.store.claim(key(delivery), mine, far.later(60)).await;
        let settle = async || far.store.settle(key(delivery), mine, value(n), until).await;
        let release = async || far.store.release(key(delivery), mine).await;
        let claim_near = async || near_asking.claim(key(delivery), other, near.later(60)).await;

        lose(way, &far, spend).await;
        let held = Insert::Held(value(insert));
        let seen = near_asking.insert(key(insert), other, value(insert), until).await.unwrap();
        assert_eq!(seen, held, "it was taken");
        proxy.set(Way::Open);
        assert_eq!(answered(spend).await, Insert::First);
        let seen = far_asking.insert(key(insert), other, value(insert), until).await.unwrap();
        assert_eq!(seen, held);

        lose(way, &far, claim).await;
        assert_eq!(claim_near().await.unwrap(), Claim::Busy, "it was taken");
        proxy.set(Way::Open);
        assert_eq!(answered(claim).await, Claim::Mine);

        lose(way, &far, release).await;
        assert_eq!(claim_near().await.unwrap(), Claim::Mine, "it was taken");
        near_asking.release(key(delivery), other).await.unwrap();
        proxy.set(Way::Open);
        answered(release).await;
        assert_eq!(answered(claim).await, Claim::Mine);

        lose(way, &far, settle).await;
        assert_eq!(claim_near().await.unwrap(), Claim::Settled(value(n)), "it was taken");
        proxy.set(Way::Open);
        answered(settle).await;
        assert_eq!(answered(claim).await, Claim::Settled(value(n)));
    }
}

#[tokio::test]
async fn what_was_lost_on_the_way_was_never_taken() {
    let server = RedisServer::start();
    let (proxy, far, near) = pair(&server).await;
    let until = later(600);
    for n in 0..3 {
        let (mine, other) = (nonce(), nonce());
        proxy.set(Way::LosesRequests);
        assert!(is_down(&far.insert(n, mine, until).await));
        assert_eq!(asking(&near).get(key(n)).await.unwrap(), None);
        let first = answered(async || near.insert(n, other, until).await).await;
        assert_eq!(first, Insert::First);
        proxy.set(Way::Open);
        let found = answered(async || far.insert(n, mine, until).await).await;
        assert_eq!(found, Insert::Held(value(n)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_was_answered_survives_the_death_of_the_server() {
    let mut server = RedisServer::start();
    let replicas = three(&server).await;
    let former = replicas[0].incarnation();
    let until = later(600);
    let (mut spent, mut died_on) = (Vec::new(), 0);
    for round in 0..4_u64 {
        // The server dies among the calls: nobody has an end before it.
        let (answers, is_over) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let callers: Vec<_> = (0..48_u64)
            .map(|caller| {
                let replica = replicas[usize::try_from(caller % 3).unwrap()].clone();
                let (answers, is_over) = (Arc::clone(&answers), Arc::clone(&is_over));
                async move {
                    let (mut spent, mut n) = (Vec::new(), (round * 48 + caller) << 32);
                    while !is_over.load(Ordering::Relaxed) {
                        let by = nonce();
                        match replica.insert(n, by, until).await {
                            Ok(first) => assert_eq!(first, Insert::First),
                            Err(error) => return (spent, Some(error)),
                        }
                        spent.push((n, by));
                        n += 1;
                        answers.fetch_add(1, Ordering::Relaxed);
                    }
                    (spent, None)
                }
            })
            .collect();
        let callers = tokio::spawn(all(callers));
        while !callers.is_finished() && answers.load(Ordering::Relaxed) < 100 * round {
            tokio::task::yield_now().await;
        }
        tokio::task::block_in_place(|| server.restart());
        is_over.store(true, Ordering::Relaxed);
        for (said, error) in callers.await.unwrap() {
            spent.extend(said);
            died_on += usize::from(error.is_some());
            assert!(error.is_none_or(|error| matches!(error, StoreError::Down(_))));
        }
        for replica in &replicas {
            replica.reached().await;
            assert_eq!(replica.incarnation(), former, "nothing was forgotten");
        }
        for (n, by) in &spent {
            let turn = usize::try_from(*n).unwrap();
            let again = async || replicas[turn % 3].insert(*n, *by, until).await;
            assert_eq!(answered(again).await, Insert::First);
            let late = nonce();
            let other = async || replicas[(turn + 1) % 3].insert(*n, late, until).await;
            assert_eq!(answered(other).await, Insert::Held(value(*n)));
        }
    }
    assert!(died_on > 0, "it always died too late");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_hanging_server_is_down_and_nobody_is_first_twice_when_it_goes_on() {
    let server = RedisServer::start();
    let replicas = three(&server).await;
    let until = later(600);
    for round in 0..2 {
        server.pause();
        let asked = (0..60_u64).map(|n| {
            let replica = replicas[usize::try_from(n % 3).unwrap()].clone();
            async move {
                let (n, by) = (round * 100 + n / 3, nonce());
                let value = value(n * 1000);
                let answer = replica.store.insert(key(n), by, value, until);
                assert!(is_down(&tokio::time::timeout(FOREVER, answer).await.unwrap()));
                (replica, n, by)
            }
        });
        let asked = all(asked).await;
        server.resume();
        // What was sent before it hung may be done now, by whomever.
        let mut first = [0; 20];
        for (replica, n, by) in asked {
            let value = value(n * 1000);
            let ask = async || replica.store.insert(key(n), by, value.clone(), until).await;
            if answered(ask).await == Insert::First {
                first[usize::try_from(n % 100).unwrap()] += 1;
            }
        }
        assert_eq!(first, [1; 20]);
    }
}

/// As the gateway asks.
#[tokio::test]
async fn one_lost_answer_is_asked_for_again_at_once() {
    let server = RedisServer::start();
    let (proxy, far, near) = pair(&server).await;
    let store = Repeating::new(Arc::clone(&far.store) as Arc<dyn Store>, FOREVER);
    let until = later(600);
    for n in 0..2 {
        proxy.set(Way::LosesOneAnswer);
        assert_eq!(store.insert(key(n), nonce(), value(n), until).await.unwrap(), Insert::First);
        let held = asking(&near).insert(key(n), nonce(), value(0), until).await.unwrap();
        assert_eq!(held, Insert::Held(value(n)));
    }
}
