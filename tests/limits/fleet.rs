//! What several replicas let through is what one would.

use std::collections::BTreeSet;
use std::time::Duration;

use futures_util::future::join_all;
use hookgate::gateway::limit::{Limit, Mode, Rate, Settings};

use crate::rig::{PATIENT, Replica, ServerClock, keys, v4};
use crate::server::RedisServer;

fn patient() -> Settings {
    Settings { shared_timeout: PATIENT, ..Settings::default() }
}

#[tokio::test]
async fn replicas_share_one_bucket() {
    let server = RedisServer::start();
    let settings = Settings { address: Rate::per_minute(1, 10), ..patient() };
    let (one, two) = (Replica::new(&server, &settings), Replica::new(&server, &settings));
    for left in (0..10).rev() {
        let replica = if left % 2 == 0 { &one } else { &two };
        let standing = replica.address(1).await.unwrap().standing().unwrap();
        assert_eq!((standing.limit, standing.remaining), (Limit::Address, left), "the fleet's");
    }
    for replica in [&one, &two] {
        let refused = replica.address(1).await.unwrap_err();
        assert_eq!(refused.which(), Limit::Address);
        assert!((50..=60).contains(&refused.retry_after_secs()), "{refused}");
        assert!(replica.address(2).await.is_ok(), "another address");
    }
    let refused = "hookgate_limit_checks_total{limit=\"address\",outcome=\"refused\"}";
    assert_eq!((one.sample(refused), two.sample(refused)), (1, 1));
    assert!(!one.is_local() && !two.is_local());
}

#[tokio::test]
async fn a_call_asks_once_and_names_nobody() {
    let server = RedisServer::start();
    let settings = Settings {
        address: Rate::per_minute(1, 10),
        open_address: Rate::per_minute(1, 10),
        client: Rate::per_minute(1, 10),
        client_service: Rate::per_minute(1, 10),
        ..patient()
    };
    let replica = Replica::new(&server, &settings);
    let _passed = replica.address(1).await.unwrap();
    let before = server.calls("evalsha");
    let _passed = replica.address(1).await.unwrap();
    let _passed = replica.client("the-ehr", "greeting").await.unwrap();
    let _passed = replica.limits.admit_open(v4(1)).await.unwrap();
    replica.limits.note_failure(v4(1)).await;
    assert_eq!(server.calls("evalsha") - before, 4);
    let held = keys(&server);
    assert_eq!(held.len(), 5, "{held:?}");
    let mut slots = BTreeSet::new();
    for name in &held {
        assert!(name.starts_with("hookgate:v1:limit:{"), "{name}");
        for secret in ["10.0.0.1", "the-ehr", "greeting"] {
            assert!(!name.contains(secret), "{name}");
        }
        slots.insert(name.split_once('}').unwrap().0);
        let expiry: i64 = server.command(&["PTTL", name]).parse().unwrap();
        assert!((1..=120_000).contains(&expiry), "{name} ends in {expiry} ms");
    }
    assert_eq!(slots.len(), 2, "the address's and the client's: {held:?}");
}

#[tokio::test]
async fn a_busy_service_does_not_use_up_the_client_nor_the_other_way_round() {
    let server = RedisServer::start();
    let settings = Settings {
        client: Rate::per_minute(1, 10),
        client_service: Rate::per_minute(1, 4),
        ..patient()
    };
    let replicas = [
        Replica::new(&server, &settings),
        Replica::new(&server, &settings),
        Replica::new(&server, &settings),
    ];
    let ask = async |service: &'static str| {
        let mut passed = 0;
        for _ in 0..20 {
            for replica in &replicas {
                passed += u32::from(replica.client("ehr", service).await.is_ok());
            }
        }
        passed
    };
    assert_eq!(ask("a").await, 4);
    let refused = replicas[0].client("ehr", "a").await.unwrap_err();
    assert_eq!(refused.which(), Limit::ClientService);
    assert_eq!(ask("b").await, 4);
    assert_eq!(ask("c").await, 2, "what the client has left");
    let refused = replicas[0].client("ehr", "c").await.unwrap_err();
    assert_eq!(refused.which(), Limit::Client);
    let passed = replicas[1].client("other", "a").await.unwrap();
    assert_eq!(passed.standing().unwrap().limit, Limit::ClientService, "the tighter of both");
}

/// What the fleet refuses, a replica's own buckets refuse from then on.
#[tokio::test]
async fn a_flood_does_not_reach_redis() {
    let server = RedisServer::start();
    let settings = Settings { address: Rate::per_minute(1, 50), ..patient() };
    let (one, two) = (Replica::new(&server, &settings), Replica::new(&server, &settings));
    let _passed = one.address(9).await.unwrap();
    let known = server.calls("evalsha");
    let calls = || server.calls("evalsha") - known;
    assert_eq!(one.passes(5_000, 1).await, 50);
    assert_eq!(calls(), 50, "its own bucket refused the others");
    assert_eq!(two.passes(5_000, 1).await, 0);
    assert_eq!(calls(), 51, "one was enough to learn it");
    assert_eq!(two.shared("answered"), 1);
    // Its own clock says when to ask again: not before the wait that it was told is over.
    two.clock.advance(Duration::from_secs(40));
    assert_eq!(two.passes(100, 1).await, 0);
    assert_eq!(calls(), 51);
    two.clock.advance(Duration::from_secs(20));
    assert_eq!(two.passes(100, 1).await, 0);
    assert_eq!(calls(), 52);
}

/// A call that the fleet refuses for its service has drawn on the client's own bucket here, and gets it
/// back: else this replica would refuse what the fleet would let pass.
#[tokio::test]
async fn a_refusal_by_the_fleet_costs_nothing_else() {
    let server = RedisServer::start();
    let settings = Settings {
        client: Rate::per_minute(1, 6),
        client_service: Rate::per_minute(6, 5),
        ..patient()
    };
    let (one, two) = (Replica::new(&server, &settings), Replica::new(&server, &settings));
    for _ in 0..5 {
        let _passed = two.client("ehr", "a").await.unwrap();
    }
    let ask = async || one.client("ehr", "a").await.unwrap_err().which();
    let refused = tokio::join!(ask(), ask(), ask(), ask(), ask());
    let service = Limit::ClientService;
    assert_eq!(refused, (service, service, service, service, service));
    one.clock.advance(Duration::from_secs(10));
    assert_eq!(ask().await, service);
    assert!(one.client("ehr", "b").await.is_ok(), "the client's sixth");
}

#[tokio::test]
async fn failures_count_wherever_they_are_made() {
    let server = RedisServer::start();
    let settings = Settings { failing_address: Rate::per_minute(1, 4), ..patient() };
    let (one, two) = (Replica::new(&server, &settings), Replica::new(&server, &settings));
    for replica in [&one, &two, &one, &two] {
        assert!(replica.address(1).await.is_ok());
        replica.limits.note_failure(v4(1)).await;
    }
    for replica in [&one, &two] {
        assert_eq!(replica.address(1).await.unwrap_err().which(), Limit::FailingAddress);
        assert!(replica.address(2).await.is_ok());
    }
    // Who has none left costs Redis nothing, and the refusal does not wait for it.
    let before = server.calls("evalsha");
    for _ in 0..50 {
        assert!(one.address(1).await.is_err());
    }
    for _ in 0..50 {
        one.limits.note_failure(v4(1)).await;
    }
    assert_eq!(server.calls("evalsha"), before);
}

#[tokio::test]
async fn observing_counts_what_the_fleet_would_refuse() {
    let server = RedisServer::start();
    let settings = Settings {
        mode: Mode::Observe,
        client: Rate::per_minute(1, 5),
        client_service: Rate::per_minute(1, 2),
        ..patient()
    };
    let (one, two) = (Replica::new(&server, &settings), Replica::new(&server, &settings));
    for _ in 0..4 {
        for replica in [&one, &two] {
            assert!(replica.client("ehr", "a").await.unwrap().standing().is_none());
        }
    }
    let count = |limit: &str, outcome: &str| {
        let series =
            format!("hookgate_limit_checks_total{{limit=\"{limit}\",outcome=\"{outcome}\"}}");
        one.sample(&series) + two.sample(&series)
    };
    assert_eq!((count("client_service", "passed"), count("client_service", "observed")), (2, 6));
    assert_eq!((count("client", "passed"), count("client", "observed")), (5, 3));
}

#[tokio::test]
async fn off_and_unshared_ask_nothing() {
    let server = RedisServer::start();
    let figures = Settings { address: Rate::per_minute(1, 3), ..patient() };
    let off = Settings { mode: Mode::Off, ..figures.clone() };
    let alone = Settings { shared: false, ..figures.clone() };
    for (settings, passed) in [(off, 20), (alone.clone(), 3)] {
        let (one, two) = (Replica::new(&server, &settings), Replica::new(&server, &settings));
        for replica in [one, two] {
            assert_eq!(replica.passes(20, 1).await, passed);
            replica.limits.note_failure(v4(1)).await;
            assert_eq!(replica.shared("answered"), 0);
        }
    }
    assert_eq!(server.calls("evalsha"), 0);

    // A changed configuration turns it on and off.
    let replica = Replica::new(&server, &alone);
    let _passed = replica.address(7).await.unwrap();
    let shared = replica.limits.renewed(&figures, &[]).unwrap();
    let _passed = shared.admit_address(v4(7)).await.unwrap();
    assert_eq!(replica.shared("answered"), 1);
    let again = shared.renewed(&alone, &[]).unwrap();
    let _passed = again.admit_address(v4(7)).await.unwrap();
    assert_eq!(replica.shared("answered"), 1);
}

/// Replicas that disagree about a figure have a bucket each, and nobody's is spoilt.
#[tokio::test]
async fn a_changed_quota_begins_anew() {
    let server = RedisServer::start();
    let settings = |burst| Settings { address: Rate::per_minute(1, burst), ..patient() };
    let replica = Replica::new(&server, &settings(3));
    assert_eq!(replica.passes(9, 1).await, 3);
    let renewed = replica.limits.renewed(&settings(5), &[]).unwrap();
    let standing = renewed.admit_address(v4(1)).await.unwrap().standing().unwrap();
    assert_eq!(standing.remaining, 4);
    let unchanged = renewed.renewed(&settings(5), &[]).unwrap();
    let standing = unchanged.admit_address(v4(1)).await.unwrap().standing().unwrap();
    assert_eq!(standing.remaining, 3);
}

/// Within 2 % of what the quota gives in the time that Redis says has passed.
#[tokio::test]
async fn many_callers_at_three_replicas_get_what_one_limit_gives() {
    for _ in 0..10 {
        if measure_three_replicas().await {
            return;
        }
    }
    panic!("replicas always limited alone");
}

/// Whether it was measured: where Redis answered too late, replicas have limited alone.
async fn measure_three_replicas() -> bool {
    const RATE: u32 = 500;
    const BURST: u32 = 1_000;
    let server = RedisServer::start();
    let settings = Settings { address: Rate::per_second(RATE, BURST), ..patient() };
    let replicas: Vec<_> = (0..3).map(|_| Replica::running(&server, &settings)).collect();
    // Connected, and the script known, before anything is counted.
    for replica in &replicas {
        let _passed = replica.address(9).await.unwrap();
    }
    let clock = ServerClock::new(&server);
    let begun = clock.micros();
    // Nothing is added to a full bucket. One that was empty takes what two seconds give, so that a pause of
    // the machine costs nothing from here on.
    let mut at_once = 0;
    loop {
        let drawn = join_all((0..50).map(|_| replicas[0].address(1))).await;
        at_once += u32::try_from(drawn.iter().filter(|drawn| drawn.is_ok()).count()).unwrap();
        if drawn.iter().any(Result::is_err) {
            break;
        }
    }
    let emptied = clock.micros();
    let flood = async |replica: &Replica| {
        let mut passed = 0;
        while clock.micros() - emptied < 2_000_000 {
            passed += replica.passes(20, 1).await;
            tokio::task::yield_now().await;
        }
        passed
    };
    let (a, b, c) = tokio::join!(flood(&replicas[0]), flood(&replicas[1]), flood(&replicas[2]));
    let least = clock.micros() - emptied;
    let mut passed = a + b + c;
    for replica in &replicas {
        passed += replica.passes(2_000, 1).await;
    }
    let most = clock.micros() - begun;
    if replicas.iter().any(|replica| replica.shared("late") + replica.shared("failed") > 0) {
        return false;
    }
    assert!(!replicas.iter().any(Replica::is_local));
    let refilled = |micros: u64| u64::from(RATE) * micros / 1_000_000;
    let (all, given) = (u64::from(at_once + passed), u64::from(BURST) + refilled(most));
    assert!(all * 100 <= given * 102, "{all} of {given}");
    assert!(at_once >= BURST, "{at_once} of {BURST}");
    let (passed, given) = (u64::from(passed), refilled(least));
    assert!(passed * 100 >= given * 98, "{passed} of {given}");
    true
}
