//! Key names that are not held: new keys, and nonsense.

use std::time::Duration;

use hookgate::gateway::auth::{AuthReason, KeySettings, Refreshed};
use hookgate::names::ClientId;
use hookgate::units::Period;
use serde_json::json;

use crate::gate::{Gate, ISSUER, client, inline};
use crate::server::{Reply, Server};
use crate::signer::{Keys, OURS, THEIRS};

/// A cold build on a busy machine may take longer than a clinician would notice.
fn patient() -> KeySettings {
    KeySettings { unknown_kid_wait: Period::secs(10), ..KeySettings::default() }
}

fn set(keys: &Keys, kids: &[&str]) -> Reply {
    let keys: Vec<_> = kids.iter().map(|kid| keys.jwk("ES384", kid)).collect();
    Reply::Set(json!({"keys": keys}).to_string(), "cache-control: max-age=3600\r\n")
}

async fn open(server: &Server, keys: KeySettings) -> Gate {
    let settings = client(&format!("id = \"ehr\"\nissuer = {ISSUER:?}\n{}", server.toml()));
    Gate::open(vec![settings], keys)
}

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

#[tokio::test]
async fn the_first_call_waits_for_the_first_fetch() {
    let server = Server::start(set(&OURS, &["a"])).await;
    let gate = open(&server, patient()).await;
    gate.call(&gate.token(&OURS, ISSUER, "ES384", "a")).await.unwrap();
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn a_rotated_key_is_found_by_the_call_that_brings_it() {
    let server = Server::start(set(&OURS, &["old"])).await;
    let gate = open(&server, patient()).await;
    gate.call(&gate.token(&OURS, ISSUER, "ES384", "old")).await.unwrap();
    server.now(set(&OURS, &["new"]));
    gate.clock.advance(secs(31));
    gate.call(&gate.token(&OURS, ISSUER, "ES384", "new")).await.unwrap();
    assert_eq!(server.requests(), 2);
    assert_eq!(gate.auth.status()[0].kids, ["new"]);
    let gone = gate.reason(&gate.token(&OURS, ISSUER, "ES384", "old")).await;
    assert!(matches!(gone, AuthReason::KidUnknown(_)), "a withdrawn key: {gone}");
    assert!(
        gate.metrics()
            .contains("hookgate_jwks_unknown_kids_total{client=\"ehr\",result=\"found\"} 1")
    );
}

#[tokio::test]
async fn a_storm_of_unknown_kids_costs_one_fetch_per_cool_down() {
    let server = Server::start(set(&OURS, &["a"])).await;
    let gate = open(&server, patient()).await;
    gate.until("ehr", |s| s.kids == ["a"]).await;
    for round in 0..3_usize {
        let tokens: Vec<String> = (0..1000)
            .map(|n| gate.token(&OURS, ISSUER, "ES384", &format!("kid-{round}-{n}")))
            .collect();
        let calls = tokens.iter().map(|token| gate.reason(token));
        for reason in futures_util::future::join_all(calls).await {
            assert!(matches!(reason, AuthReason::KidUnknown(_)), "{reason}");
        }
        // The first fetch, at start, was within the cool-down.
        assert_eq!(server.requests(), 1 + round);
        gate.clock.advance(secs(30));
    }
    gate.call(&gate.token(&OURS, ISSUER, "ES384", "a")).await.unwrap();
}

#[tokio::test]
async fn the_same_unknown_kid_is_asked_for_once_a_while() {
    let server = Server::start(set(&OURS, &["a"])).await;
    let gate = open(&server, patient()).await;
    gate.until("ehr", |s| s.kids == ["a"]).await;
    let token = |kid: &str| gate.token(&OURS, ISSUER, "ES384", kid);
    gate.clock.advance(secs(30));
    gate.reason(&token("b")).await;
    assert_eq!(server.requests(), 2);
    gate.clock.advance(secs(31));
    gate.reason(&token("b")).await;
    assert_eq!(server.requests(), 2, "it was remembered");
    gate.reason(&token("c")).await;
    assert_eq!(server.requests(), 3, "another is asked for");
    gate.clock.advance(secs(30));
    gate.reason(&token("b")).await;
    assert_eq!(server.requests(), 4, "it was forgotten in time");
}

#[tokio::test]
async fn a_key_that_came_within_the_cool_down_is_looked_for_when_it_ends() {
    let server = Server::start(set(&OURS, &["a"])).await;
    let gate = open(&server, patient()).await;
    gate.until("ehr", |s| s.kids == ["a"]).await;
    server.now(set(&OURS, &["a", "b"]));
    let token = gate.token(&OURS, ISSUER, "ES384", "b");
    assert!(matches!(gate.reason(&token).await, AuthReason::KidUnknown(_)));
    assert_eq!(server.requests(), 1, "it was not looked for");
    gate.clock.advance(secs(30));
    gate.call(&token).await.unwrap();
}

#[tokio::test]
async fn what_was_known_to_be_unknown_is_open_again_in_an_outage() {
    let server = Server::start(set(&OURS, &["a"])).await;
    let gate = open(&server, patient()).await;
    gate.until("ehr", |s| s.kids == ["a"]).await;
    let token = |kid: &str| gate.token(&OURS, ISSUER, "ES384", kid);
    gate.clock.advance(secs(30));
    assert!(matches!(gate.reason(&token("b")).await, AuthReason::KidUnknown(_)));
    server.now(Reply::Down);
    gate.clock.advance(secs(31));
    for kid in ["c", "b"] {
        let reason = gate.reason(&token(kid)).await;
        assert!(matches!(reason, AuthReason::KeysUnavailable { .. }), "{kid}: {reason}");
    }
}

#[tokio::test]
async fn many_who_bring_the_same_new_key_share_one_fetch() {
    let server = Server::start(set(&OURS, &["old"])).await;
    let gate = open(&server, patient()).await;
    gate.until("ehr", |s| s.kids == ["old"]).await;
    gate.clock.advance(secs(30));
    let new = json!({"keys": [OURS.jwk("ES384", "new")]}).to_string();
    server.now(Reply::Slow(Duration::from_millis(100), new));
    let token = gate.token(&OURS, ISSUER, "ES384", "new");
    let calls = (0..50).map(|_| gate.call(&token));
    for result in futures_util::future::join_all(calls).await {
        result.unwrap();
    }
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn what_cannot_be_said_in_time_is_no_bad_token() {
    let server = Server::start(set(&OURS, &["old"])).await;
    let brief = KeySettings { unknown_kid_wait: Period::millis(50), ..KeySettings::default() };
    let gate = open(&server, brief).await;
    gate.until("ehr", |s| s.kids == ["old"]).await;
    gate.clock.advance(secs(30));
    server.now(Reply::Hang);
    let reason = gate.reason(&gate.token(&OURS, ISSUER, "ES384", "new")).await;
    assert!(matches!(reason, AuthReason::KeysUnavailable { .. }), "{reason}");
    gate.call(&gate.token(&OURS, ISSUER, "ES384", "old")).await.unwrap();
}

#[tokio::test]
async fn an_unknown_kid_during_an_outage_is_no_bad_token_and_a_held_one_verifies() {
    let server = Server::start(set(&OURS, &["old"])).await;
    let gate = open(&server, patient()).await;
    gate.until("ehr", |s| s.kids == ["old"]).await;
    server.now(Reply::Raw(b"HTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n".to_vec()));
    gate.clock.advance(secs(30));
    for kid in ["new", "new", "other"] {
        let reason = gate.reason(&gate.token(&OURS, ISSUER, "ES384", kid)).await;
        let AuthReason::KeysUnavailable { retry_after } = reason else { panic!("{kid}: {reason}") };
        assert!(retry_after >= secs(1) && retry_after <= secs(30), "{retry_after:?}");
    }
    assert_eq!(server.requests(), 2, "the failure started the cool-down");
    gate.call(&gate.token(&OURS, ISSUER, "ES384", "old")).await.unwrap();
}

#[tokio::test]
async fn a_key_replaced_under_its_name_is_taken_up_behind_the_failing_call() {
    let server = Server::start(set(&OURS, &["same"])).await;
    let gate = open(&server, patient()).await;
    gate.until("ehr", |s| s.kids == ["same"]).await;
    server.now(set(&THEIRS, &["same"]));
    gate.clock.advance(secs(30));
    let token = gate.token(&THEIRS, ISSUER, "ES384", "same");
    assert_eq!(gate.reason(&token).await, AuthReason::Signature);
    let mut accepted = false;
    for _ in 0..2000 {
        accepted = gate.call(&token).await.is_ok();
        if accepted {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(accepted);
    assert_eq!(server.requests(), 2);
}

#[tokio::test]
async fn keys_are_read_again_when_an_operator_asks() {
    let server = Server::start(set(&OURS, &["a"])).await;
    let gate = open(&server, patient()).await;
    gate.until("ehr", |s| s.kids == ["a"]).await;
    server.now(set(&OURS, &["b"]));
    let ask =
        async |client: &str| gate.auth.refresh(&ClientId::new(client).unwrap(), secs(60)).await;
    assert_eq!(ask("nobody").await, Refreshed::Unknown);
    assert_eq!(ask("ehr").await, Refreshed::Read(vec!["b".to_owned()]));
    gate.until("ehr", |s| s.kids == ["b"]).await;
    assert_eq!(server.requests(), 2);
    server.now(Reply::Raw(b"HTTP/1.1 500 Oh\r\ncontent-length: 0\r\n\r\n".to_vec()));
    assert_eq!(ask("ehr").await, Refreshed::Failed("status"));
    gate.until("ehr", |s| s.kids == ["b"] && s.last_error == Some("status")).await;
}

#[tokio::test]
async fn an_inline_set_knows_all_its_keys_for_ever() {
    let gate = Gate::open(
        vec![inline("ehr", ISSUER, json!({"keys": [OURS.jwk("ES384", "a")]}), "")],
        KeySettings::default(),
    );
    gate.clock.advance(secs(400 * 86_400));
    gate.call(&gate.token(&OURS, ISSUER, "ES384", "a")).await.unwrap();
    let reason = gate.reason(&gate.token(&OURS, ISSUER, "ES384", "b")).await;
    assert!(matches!(reason, AuthReason::KidUnknown(_)), "{reason}");
}
