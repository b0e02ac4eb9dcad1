//! What an admission takes by itself and with Redis, by turns, so that both meet the same machine.

use std::sync::Arc;
use std::time::Duration;

use hookgate::clock::{Clock, SystemClock};
use hookgate::gateway::limit::Rate;
use redis::Script;
use tokio::task::JoinSet;

use crate::figures::{Effort, Times};
use crate::replicas::{Replica, redis, server, v4};

/// Nobody is over it.
const WIDE: Rate = Rate::per_second(1_000_000, 1_000_000);
const AT_ONCE: u32 = 64;
/// One after the other, by each of them in each round.
const EACH: u32 = 100;

pub(crate) async fn measure(effort: Effort) {
    let (turns, rounds) = match effort {
        Effort::Full => (20_000, 50),
        Effort::Least => (100, 1),
    };
    println!("\n== costs of one admission of an address\n");
    println!("| | median | p99 | median to the first |\n|---|---|---|---|");
    one_at_a_time(turns).await;
    many_at_once(rounds).await;
}

async fn one_at_a_time(turns: u32) {
    let (server, clock) = (server(), SystemClock::new());
    let (alone, shared) = (Replica::new(None, WIDE), Replica::new(Some(&server), WIDE));
    // What a step of Redis takes that does nothing.
    let (bare, nothing) = (redis(&server), Script::new("return 0"));
    let (mut local, mut fleet, mut empty) = (Times::default(), Times::default(), Times::default());
    for turn in 0..turns {
        let from = v4(turn % 1_000);
        let begun = clock.monotonic();
        let _passed = alone.limits.admit_address(from).await.unwrap();
        let here = clock.monotonic();
        let _passed = shared.limits.admit_address(from).await.unwrap();
        let there = clock.monotonic();
        let _nothing = bare.run(&nothing, &[b"hookgate:key"], &[]).await.unwrap();
        let done = clock.monotonic();
        local.0.push(here - begun);
        fleet.0.push(there - here);
        empty.0.push(done - there);
    }
    assert!(!shared.was_local(), "Redis was there all the time");
    println!("{}", local.row("by itself", &local));
    println!("{}", fleet.row("shared", &local));
    println!("{}", empty.row("a script that does nothing", &local));
}

async fn many_at_once(rounds: u32) {
    let server = server();
    let (alone, shared) = (Replica::new(None, WIDE), Replica::new(Some(&server), WIDE));
    let (mut local, mut fleet) = (Duration::ZERO, Duration::ZERO);
    for _ in 0..rounds {
        local += round(&alone).await;
        fleet += round(&shared).await;
    }
    assert!(!shared.was_local(), "Redis was there all the time");
    let rate = |time: Duration| f64::from(rounds * AT_ONCE * EACH) / time.as_secs_f64();
    println!(
        "\n{AT_ONCE} callers at once: {:.0} admissions a second by itself, {:.0} shared",
        rate(local),
        rate(fleet)
    );
}

/// How long all callers together take.
async fn round(replica: &Arc<Replica>) -> Duration {
    let clock = SystemClock::new();
    let begun = clock.monotonic();
    let mut callers = JoinSet::new();
    for caller in 0..AT_ONCE {
        let replica = Arc::clone(replica);
        callers.spawn(async move {
            for _ in 0..EACH {
                let _passed = replica.limits.admit_address(v4(caller)).await.unwrap();
            }
        });
    }
    let _done = callers.join_all().await;
    clock.monotonic() - begun
}
