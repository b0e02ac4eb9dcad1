//! Key servers that go away, and come back.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::Duration;

use hookgate::clock::{Clock, ManualClock};
use hookgate::gateway::auth::{AuthReason, ClientSettings, KeySettings};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::gate::{Gate, ISSUER, NOW, build, client};
use crate::server::{Reply, Server};
use crate::signer::OURS;

const HOUR: Duration = Duration::from_secs(3600);

fn set(kid: &str) -> Reply {
    Reply::Set(
        json!({"keys": [OURS.jwk("ES384", kid)]}).to_string(),
        "cache-control: max-age=600\r\n",
    )
}

fn settings(server: &Server) -> ClientSettings {
    client(&format!("id = \"ehr\"\nissuer = {ISSUER:?}\n{}", server.toml()))
}

fn open(server: &Server, state: Option<&Path>, clock: &ManualClock) -> Gate {
    Gate::open_at(vec![settings(server)], KeySettings::default(), state, clock.clone())
}

async fn verifies(gate: &Gate, kid: &str) -> Result<(), AuthReason> {
    let result = gate.call(&gate.token(&OURS, ISSUER, "ES384", kid)).await;
    result.map(drop).map_err(|error| error.reason().clone())
}

#[tokio::test]
async fn a_server_that_is_down_at_start_is_asked_until_it_is_up() {
    let server = Server::start(Reply::Down).await;
    let clock = ManualClock::new(NOW);
    let gate = open(&server, None, &clock);
    gate.until("ehr", |s| s.last_error.is_some() && s.next_refresh.is_some()).await;
    assert!(matches!(verifies(&gate, "a").await, Err(AuthReason::KeysUnavailable { .. })));
    assert_eq!(gate.auth.pending().len(), 1);
    let first = gate.auth.status()[0].next_refresh.unwrap();
    assert!(first >= Duration::from_secs(1) && first <= Duration::from_secs(2), "{first:?}");
    server.now(set("a"));
    clock.advance(first);
    gate.until("ehr", |s| s.kids == ["a"]).await;
    assert_eq!(verifies(&gate, "a").await, Ok(()));
    assert!(gate.auth.pending().is_empty());
    assert_eq!(gate.auth.status()[0].last_error, None);
}

#[tokio::test]
async fn the_pauses_between_failures_grow_to_their_limit() {
    let server = Server::start(Reply::Down).await;
    let clock = ManualClock::new(NOW);
    let gate = open(&server, None, &clock);
    let mut pauses = Vec::new();
    for failures in 1..=14 {
        while server.requests() < failures {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        // None left of the last pause: that is still the status of before this failure.
        gate.until("ehr", |s| s.next_refresh.is_some_and(|pause| !pause.is_zero())).await;
        let pause = gate.auth.status()[0].next_refresh.unwrap();
        pauses.push(pause);
        clock.advance(pause);
    }
    assert!(pauses[0] < Duration::from_secs(3), "{pauses:?}");
    assert!(pauses.iter().all(|pause| *pause <= Duration::from_secs(300)), "{pauses:?}");
    assert_eq!(pauses[12..], [Duration::from_secs(300); 2], "{pauses:?}");
    assert!(pauses.windows(2).take(5).all(|w| w[1] > w[0] / 2), "{pauses:?}");

    server.now(set("a"));
    clock.advance(Duration::from_secs(300));
    gate.until("ehr", |s| s.kids == ["a"] && s.next_refresh.is_some()).await;
    server.now(Reply::Down);
    clock.advance(gate.auth.status()[0].next_refresh.unwrap());
    gate.until("ehr", |s| s.last_error.is_some() && s.next_refresh.is_some_and(|p| !p.is_zero()))
        .await;
    let anew = gate.auth.status()[0].next_refresh.unwrap();
    assert!(anew <= Duration::from_secs(2), "after a success it starts anew: {anew:?}");
}

#[tokio::test]
async fn a_set_is_fetched_again_before_it_is_stale() {
    let server = Server::start(set("a")).await;
    let clock = ManualClock::new(NOW);
    let gate = open(&server, None, &clock);
    gate.until("ehr", |s| s.kids == ["a"] && s.next_refresh.is_some()).await;
    let due = gate.auth.status()[0].next_refresh.unwrap();
    assert!(due >= Duration::from_secs(450) && due <= Duration::from_secs(510), "{due:?}");
    server.now(set("b"));
    clock.advance(due - Duration::from_secs(1));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(server.requests(), 1);
    clock.advance(Duration::from_secs(1));
    gate.until("ehr", |s| s.kids == ["b"]).await;
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn known_keys_outlive_an_outage_until_they_are_too_old() {
    let server = Server::start(set("a")).await;
    let clock = ManualClock::new(NOW);
    let gate = open(&server, None, &clock);
    gate.until("ehr", |s| s.kids == ["a"]).await;
    server.now(Reply::Down);
    clock.advance(HOUR);
    gate.until("ehr", |s| s.last_error.is_some()).await;
    assert_eq!(verifies(&gate, "a").await, Ok(()));
    assert_eq!(gate.auth.status()[0].age, Some(HOUR));
    assert!(gate.metrics().contains("hookgate_jwks_age_seconds{client=\"ehr\"} 3600"));
    clock.advance(HOUR * 23 - Duration::from_secs(1));
    assert_eq!(verifies(&gate, "a").await, Ok(()));
    clock.advance(Duration::from_secs(1));
    assert!(matches!(verifies(&gate, "a").await, Err(AuthReason::KeysUnavailable { .. })));
    assert_eq!(gate.auth.pending().len(), 1);
    server.now(set("a"));
    clock.advance(Duration::from_secs(300));
    gate.until("ehr", |s| s.kids == ["a"]).await;
    assert_eq!(verifies(&gate, "a").await, Ok(()));
}

#[tokio::test]
async fn a_set_without_a_usable_key_does_not_replace_a_good_one() {
    let server = Server::start(set("a")).await;
    let clock = ManualClock::new(NOW);
    let gate = open(&server, None, &clock);
    gate.until("ehr", |s| s.kids == ["a"]).await;
    for useless in
        ["{\"keys\":[]}", "{\"keys\":[{\"kty\":\"oct\",\"kid\":\"a\",\"k\":\"AA\"}]}", "x"]
    {
        let before = server.requests();
        server.now(Reply::Set(useless.into(), ""));
        clock.advance(HOUR);
        while server.requests() == before {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        gate.until("ehr", |s| s.last_error.is_some() && s.next_refresh.is_some()).await;
        assert_eq!(verifies(&gate, "a").await, Ok(()), "{useless}");
    }
}

#[tokio::test]
async fn a_restart_during_an_outage_knows_the_keys() {
    let state = tempfile::tempdir().unwrap();
    let server = Server::start(set("a")).await;
    let clock = ManualClock::new(NOW);
    let file = state.path().join("jwks/ehr.json");
    {
        let gate = open(&server, Some(state.path()), &clock);
        gate.until("ehr", |s| s.kids == ["a"]).await;
        while !file.exists() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    let kept: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(kept["source"], server.url());
    assert_eq!(kept["fetched_at"], clock.now().secs());
    assert!(!state.path().join("jwks/ehr.json.new").exists());

    server.now(Reply::Down);
    clock.advance(HOUR);
    {
        let gate = open(&server, Some(state.path()), &clock);
        assert!(gate.auth.pending().is_empty(), "ready at once");
        assert_eq!(verifies(&gate, "a").await, Ok(()));
        assert_eq!(gate.auth.status()[0].age, Some(HOUR));
        clock.advance(HOUR * 23);
        assert!(matches!(verifies(&gate, "a").await, Err(AuthReason::KeysUnavailable { .. })));
    }
    let gate = open(&server, Some(state.path()), &clock);
    assert_eq!(gate.auth.pending().len(), 1, "too old");
}

#[tokio::test]
async fn a_kept_set_of_another_source_or_time_or_none_at_all_is_ignored() {
    let state = tempfile::tempdir().unwrap();
    let server = Server::start(Reply::Down).await;
    let clock = ManualClock::new(NOW);
    std::fs::create_dir(state.path().join("jwks")).unwrap();
    let file = state.path().join("jwks/ehr.json");
    let key = OURS.jwk("ES384", "a");
    let record = |source: &str, at: u64| json!({"source": source, "fetched_at": at, "keys": [key]});
    let (url, now) = (server.url(), NOW.secs());
    for (what, text, held) in [
        ("good", record(&url, now).to_string(), true),
        ("of another source", record("https://localhost/other", now).to_string(), false),
        ("a day old", record(&url, now - 86_400).to_string(), false),
        ("an hour ahead", record(&url, now + 3600).to_string(), false),
        ("torn", record(&url, now).to_string()[..40].to_owned(), false),
        ("empty", String::new(), false),
        ("without keys", json!({"source": url, "fetched_at": now, "keys": []}).to_string(), false),
    ] {
        std::fs::write(&file, text).unwrap();
        let gate = open(&server, Some(state.path()), &clock);
        assert_eq!(gate.auth.pending().is_empty(), held, "{what}");
    }
}

#[tokio::test]
async fn a_server_that_hangs_delays_nobody_else() {
    let (hanging, healthy) = (Server::start(Reply::Hang).await, Server::start(set("a")).await);
    let clients = vec![
        client(&format!("id = \"slow\"\nissuer = \"slow\"\n{}", hanging.toml())),
        client(&format!("id = \"ehr\"\nissuer = {ISSUER:?}\n{}", healthy.toml())),
    ];
    let gate = Gate::open(clients, KeySettings::default());
    gate.until("ehr", |s| s.kids == ["a"]).await;
    assert_eq!(verifies(&gate, "a").await, Ok(()));
    let pending: Vec<String> = gate.auth.pending().iter().map(ToString::to_string).collect();
    assert_eq!(pending, ["slow"]);
    assert_eq!(gate.auth.status()[0].next_refresh, None, "its fetch is still under way");
}

#[tokio::test]
async fn the_tasks_end_when_they_are_told_to() {
    let (hanging, healthy) = (Server::start(Reply::Hang).await, Server::start(set("a")).await);
    let more = client(&format!("id = \"slow\"\nissuer = \"slow\"\n{}", hanging.toml()));
    let clock = ManualClock::new(NOW);
    let clients = vec![settings(&healthy), more];
    let (auth, _) = build(clients, KeySettings::default(), None, &clock);
    let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
    let auth = auth.unwrap();
    auth.start(&tasks, stop.clone());
    assert_eq!(tasks.len(), 2);
    while hanging.requests() + healthy.requests() < 2 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    stop.cancel();
    tasks.close();
    tokio::time::timeout(Duration::from_secs(30), tasks.wait()).await.expect("still running");
}
