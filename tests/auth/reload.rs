//! Clients of a changed configuration, and the keys from before.

use std::time::Duration;

use hookgate::clock::ManualClock;
use hookgate::gateway::auth::{AuthReason, ClientSettings, KeySettings};
use hookgate::units::Period;
use serde_json::json;

use crate::gate::{Gate, ISSUER, NOW, client};
use crate::server::{Reply, Server};
use crate::signer::OURS;

const OTHER: &str = "https://other.example.org";
const A_WHILE: Duration = Duration::from_secs(31);

fn set(kid: &str) -> Reply {
    let set = json!({"keys": [OURS.jwk("ES384", kid)]});
    Reply::Set(set.to_string(), "cache-control: max-age=600\r\n")
}

fn settings(id: &str, issuer: &str, server: &Server, more: &str) -> ClientSettings {
    client(&format!("id = {id:?}\nissuer = {issuer:?}\n{}\n{more}", server.toml()))
}

/// A fetch on a busy machine may take longer than a clinician would notice.
fn patient() -> KeySettings {
    KeySettings { unknown_kid_wait: Period::secs(10), ..KeySettings::default() }
}

async fn verifies(gate: &Gate, issuer: &str, kid: &str) -> Result<(), AuthReason> {
    let result = gate.call(&gate.token(&OURS, issuer, "ES384", kid)).await;
    result.map(drop).map_err(|error| error.reason().clone())
}

#[tokio::test]
async fn what_did_not_change_keeps_its_keys_and_what_is_known_of_them() {
    let server = Server::start(set("a")).await;
    let clock = ManualClock::new(NOW);
    let ours = |more| settings("ehr", ISSUER, &server, more);
    let mut gate = Gate::open_at(vec![ours("")], patient(), None, clock.clone());
    gate.until("ehr", |s| s.kids == ["a"] && s.next_refresh.is_some()).await;
    clock.advance(A_WHILE);
    let unknown = verifies(&gate, ISSUER, "nonsense").await;
    assert!(matches!(unknown, Err(AuthReason::KidUnknown(_))), "{unknown:?}");
    assert_eq!(server.requests(), 2);
    clock.advance(A_WHILE);
    for more in ["max_lifetime = \"15m\"", "audience = [\"endpoint\", \"base\"]", ""] {
        gate.reload(vec![ours(more)], &patient());
        assert_eq!(verifies(&gate, ISSUER, "a").await, Ok(()), "{more}");
        let unknown = verifies(&gate, ISSUER, "nonsense").await;
        assert!(matches!(unknown, Err(AuthReason::KidUnknown(_))), "{more}: {unknown:?}");
    }
    assert_eq!(server.requests(), 2, "nothing was asked for again");
    assert!(gate.auth.pending().is_empty() && gate.auth.missing().is_empty());
}

#[tokio::test]
async fn the_keys_of_a_client_that_is_gone_are_asked_for_no_more() {
    let (gone, kept) = (Server::start(set("a")).await, Server::start(set("b")).await);
    let clock = ManualClock::new(NOW);
    let (one, two) = (settings("ehr", ISSUER, &gone, ""), settings("kept", OTHER, &kept, ""));
    let clients = vec![one, two.clone()];
    let mut gate = Gate::open_at(clients, KeySettings::default(), None, clock.clone());
    gate.until("ehr", |s| s.next_refresh.is_some()).await;
    gate.until("kept", |s| s.next_refresh.is_some()).await;
    gate.reload(vec![two], &KeySettings::default());
    let unknown = verifies(&gate, ISSUER, "a").await;
    assert!(matches!(unknown, Err(AuthReason::Issuer(_))), "{unknown:?}");
    let metrics = gate.metrics();
    assert!(metrics.contains("hookgate_jwks_keys_held{client=\"kept\"} 1"), "{metrics}");
    assert!(!metrics.contains("hookgate_jwks_keys_held{client=\"ehr\"}"), "{metrics}");
    // Time goes on until it is seen to: an attempt may fail on a busy machine.
    while kept.requests() < 5 {
        clock.advance(Duration::from_secs(24 * 3600));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(gone.requests(), 1);
}

#[tokio::test]
async fn another_way_to_the_same_server_begins_with_the_keys_that_are_held() {
    let server = Server::start(set("a")).await;
    let clock = ManualClock::new(NOW);
    let ours = || vec![settings("ehr", ISSUER, &server, "")];
    let mut gate = Gate::open_at(ours(), KeySettings::default(), None, clock.clone());
    gate.until("ehr", |s| s.kids == ["a"] && s.next_refresh.is_some()).await;
    server.now(Reply::Down);
    clock.advance(A_WHILE);
    let keys = KeySettings { fetch_timeout: Period::secs(4), ..KeySettings::default() };
    gate.reload(ours(), &keys);
    assert_eq!(verifies(&gate, ISSUER, "a").await, Ok(()));
    assert_eq!(gate.auth.status()[0].age, Some(A_WHILE));
    gate.until("ehr", |s| s.last_error.is_some()).await;
    assert_eq!(verifies(&gate, ISSUER, "a").await, Ok(()));
}

#[tokio::test]
async fn a_client_that_a_reload_brings_is_not_waited_for() {
    let (server, late) = (Server::start(set("a")).await, Server::start(Reply::Down).await);
    let clock = ManualClock::new(NOW);
    let ours = settings("ehr", ISSUER, &server, "");
    let mut gate = Gate::open_at(vec![ours.clone()], KeySettings::default(), None, clock.clone());
    gate.until("ehr", |s| s.kids == ["a"]).await;
    let clients = vec![ours, settings("late", OTHER, &late, "")];
    gate.reload(clients, &KeySettings::default());
    gate.until("late", |s| s.last_error.is_some() && s.next_refresh.is_some()).await;
    assert!(gate.auth.pending().is_empty());
    assert_eq!(gate.auth.missing().len(), 1);
    late.now(set("b"));
    clock.advance(A_WHILE);
    gate.until("late", |s| s.kids == ["b"]).await;
    assert!(gate.auth.missing().is_empty());
    assert_eq!(verifies(&gate, OTHER, "b").await, Ok(()));
}
