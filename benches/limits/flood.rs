//! One address floods a fleet: what passes, and how much of it Redis sees.

use std::sync::Arc;
use std::time::Duration;

use hookgate::clock::{Clock, SystemClock};
use hookgate::gateway::limit::Rate;
use tokio::task::JoinSet;

use crate::figures::Effort;
use crate::replicas::{Replica, server, v4};

/// Calls a second and at once.
const FIGURES: [(u32, u32); 3] = [(50, 10), (500, 100), (2_000, 400)];
/// At each replica; every one comes again a millisecond after it was refused.
const CALLERS: usize = 8;

/// What came of one flood.
struct Flood {
    asked: u64,
    passed: u64,
    reached_redis: u64,
    /// Of what the quota gives in that time.
    share: f64,
}

pub(crate) async fn measure(effort: Effort) {
    let (figures, fleets, lasting): (&[_], &[_], _) = match effort {
        Effort::Full => (&FIGURES, &[1, 3, 8], Duration::from_secs(5)),
        Effort::Least => (&FIGURES[1..2], &[1, 3], Duration::from_millis(100)),
    };
    println!("\n== flood of {lasting:?}, {CALLERS} callers at each replica\n");
    println!(
        "| a second, at once | replicas | asked | passed | of the quota | to one alone | Redis calls for each passed | for each 1,000 refused |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for figure in figures {
        let mut alone = None;
        for replicas in fleets {
            let flood = flood(*figure, *replicas, true, lasting).await;
            let alone = *alone.get_or_insert(flood.share);
            row(*figure, &replicas.to_string(), &flood, alone);
        }
        if let Some(alone) = alone {
            let apart = flood(*figure, 3, false, lasting).await;
            row(*figure, "3, not shared", &apart, alone);
        }
    }
}

fn row((rate, burst): (u32, u32), replicas: &str, flood: &Flood, alone: f64) {
    let (calls, passed) = (flood.reached_redis as f64, flood.passed as f64);
    let refused = (flood.asked - flood.passed) as f64;
    println!(
        "| {rate}, {burst} | {replicas} | {} | {} | {:.2} % | {:+.2} % | {:.2} | {:.1} |",
        flood.asked,
        flood.passed,
        flood.share * 100.0,
        (flood.share / alone - 1.0) * 100.0,
        calls / passed,
        (calls - passed).max(0.0) / refused * 1_000.0,
    );
}

async fn flood((rate, burst): (u32, u32), count: u32, shared: bool, lasting: Duration) -> Flood {
    let (server, clock) = (server(), Arc::new(SystemClock::new()));
    let quota = Rate::per_second(rate, burst);
    let redis = shared.then_some(&server);
    let replicas: Vec<_> = (0..count).map(|_| Replica::new(redis, quota)).collect();
    // Connected, and the script known, before anything is counted.
    for (replica, elsewhere) in replicas.iter().zip(2..) {
        let _passed = replica.limits.admit_address(v4(elsewhere)).await.unwrap();
    }
    let before = server.calls("evalsha");
    let begun = clock.monotonic();
    let mut callers = JoinSet::new();
    for replica in &replicas {
        for _ in 0..CALLERS {
            callers.spawn(call(Arc::clone(replica), Arc::clone(&clock), begun + lasting));
        }
    }
    let (asked, passed) = callers
        .join_all()
        .await
        .into_iter()
        .fold((0, 0), |(asked, passed), one| (asked + one.0, passed + one.1));
    let elapsed = (clock.monotonic() - begun).as_secs_f64();
    let reached_redis = server.calls("evalsha") - before;
    assert!(!replicas.iter().any(|replica| replica.was_local()), "Redis was there all the time");
    let share = passed as f64 / (f64::from(burst) + f64::from(rate) * elapsed);
    Flood { asked, passed, reached_redis, share }
}

/// How often one caller asked until then, and how often it passed.
async fn call(replica: Arc<Replica>, clock: Arc<SystemClock>, until: Duration) -> (u64, u64) {
    let (mut asked, mut passed) = (0, 0);
    while clock.monotonic() < until {
        asked += 1;
        if replica.limits.admit_address(v4(1)).await.is_ok() {
            passed += 1;
        } else {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    (asked, passed)
}
