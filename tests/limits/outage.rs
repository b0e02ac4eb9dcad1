//! Redis away: each replica limits by itself, says so, and comes back by itself.

use std::time::Duration;

use futures_util::FutureExt as _;
use hookgate::gateway::limit::{Rate, Settings};
use hookgate::units::Period;

use crate::rig::{PATIENT, Replica, eventually, v4};
use crate::server::RedisServer;

const SECOND: Duration = Duration::from_secs(1);

fn settings(burst: u32, shared_timeout: Period) -> Settings {
    Settings { address: Rate::per_minute(1, burst), shared_timeout, ..Settings::default() }
}

/// Lets trials happen until one is answered. All of them are calls that are given up at once: nobody who
/// comes and goes keeps a replica from coming back.
async fn returns(replica: &Replica) {
    let mut n = 1_000;
    eventually("it comes back", || {
        replica.clock.advance(SECOND);
        n += 1;
        let _passed = replica.address(n).now_or_never();
        !replica.is_local()
    })
    .await;
}

#[tokio::test]
async fn each_replica_has_its_own_limit_while_redis_is_dead() {
    let mut server = RedisServer::start();
    let replicas = [
        Replica::new(&server, &settings(10, PATIENT)),
        Replica::new(&server, &settings(10, PATIENT)),
    ];
    for replica in &replicas {
        assert_eq!(replica.passes(2, 1).await, 2);
    }
    server.kill();
    for replica in &replicas {
        assert_eq!(replica.passes(50, 1).await, 8, "it has drawn on its own bucket all the time");
        assert_eq!(replica.passes(50, 2).await, 10);
        assert!(replica.is_local());
        assert_eq!(replica.shared("failed"), 1);
        assert_eq!(replica.shared("late"), 0);
        assert_eq!(replica.shared("spared"), 17, "asked once and then left alone");
    }
    server.restart();
    for replica in &replicas {
        returns(replica).await;
    }
    let passed = replicas[0].passes(50, 3).await + replicas[1].passes(50, 3).await;
    assert_eq!(passed, 10, "the fleet's again");
}

/// A server that accepts and says nothing costs one caller the timeout, and not the others.
#[tokio::test]
async fn a_stalled_redis_is_waited_for_once() {
    let server = RedisServer::start();
    let replica = Replica::new(&server, &settings(10, Period::millis(200)));
    // On a busy machine the first answer may be late.
    returns(&replica).await;
    server.pause();
    assert_eq!(replica.passes(50, 2).await, 10);
    assert!(replica.is_local());
    assert!(replica.shared("late") >= 1);
    let late = replica.shared("late");
    replica.limits.note_failure(v4(2)).await;
    assert_eq!(replica.shared("late"), late, "a refusal does not wait either");
    for trial in 1..=3 {
        replica.clock.advance(SECOND);
        // Ready at once: the trial is made, but not by somebody who waits for it.
        assert!(replica.address(10 + trial).now_or_never().unwrap().is_ok());
        assert_eq!(replica.passes(20, 10 + trial).await, 9, "trials refuse nobody");
        eventually("the trial ends", || replica.shared("late") == late + u64::from(trial)).await;
    }
    server.resume();
    returns(&replica).await;
}

/// Nobody calls it, and its metric must not go on saying that Redis is away.
#[tokio::test]
async fn a_quiet_replica_comes_back_by_itself() {
    let mut server = RedisServer::start();
    let replica = Replica::new(&server, &settings(10, PATIENT));
    assert_eq!(replica.passes(1, 1).await, 1);
    server.kill();
    assert_eq!(replica.passes(1, 1).await, 1);
    assert!(replica.is_local());
    replica.clock.advance(SECOND);
    replica.limits.tend().await;
    assert!(replica.is_local(), "it is still away");
    server.restart();
    for _ in 0..3_000 {
        replica.clock.advance(SECOND);
        replica.limits.tend().await;
        if !replica.is_local() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it never came back");
}

/// A replica that starts while Redis is away limits from the first call on.
#[tokio::test]
async fn nobody_gets_in_free_before_redis_is_there() {
    let mut server = RedisServer::start();
    server.kill();
    let replica = Replica::new(&server, &settings(3, PATIENT));
    assert_eq!(replica.passes(20, 1).await, 3);
    assert!(replica.is_local());
    server.restart();
    returns(&replica).await;
}

/// What Redis forgets is a bucket that is full again: nothing fails.
#[tokio::test]
async fn a_redis_that_forgot_everything_begins_anew() {
    let server = RedisServer::start();
    let (one, two) = (
        Replica::new(&server, &settings(5, PATIENT)),
        Replica::new(&server, &settings(5, PATIENT)),
    );
    assert_eq!(one.passes(9, 1).await, 5);
    server.flush();
    assert_eq!(server.command(&["SCRIPT", "FLUSH"]), "OK");
    assert_eq!(two.passes(9, 1).await, 5);
    assert_eq!(one.passes(9, 1).await, 0, "its own bucket remembers");
    assert!(!one.is_local() && !two.is_local());
}

/// Without memory Redis cannot count; that is no reason to refuse anybody, nor to let everybody in.
#[tokio::test]
async fn a_full_redis_is_as_good_as_none() {
    let server = RedisServer::start();
    let replica = Replica::new(&server, &settings(5, PATIENT));
    assert_eq!(replica.passes(1, 1).await, 1);
    assert_eq!(server.command(&["CONFIG", "SET", "maxmemory", "1"]), "OK");
    assert_eq!(replica.passes(20, 1).await, 4);
    assert!(replica.is_local());
    replica.clock.advance(SECOND);
    replica.limits.tend().await;
    assert!(replica.is_local(), "it answers, and keeps nothing");
    assert_eq!(server.command(&["CONFIG", "SET", "maxmemory", "0"]), "OK");
    returns(&replica).await;
}
