//! What an operator may write, and what is said about what he may not.

use std::collections::BTreeSet;

use hookgate::clock::ManualClock;
use hookgate::gateway::auth::{ClientSettings, KeySettings, ReplayMode, SettingsError};
use serde_json::{Value, json};

use crate::gate::{NOW, build, client, inline};
use crate::signer::OURS;

const SANDBOX: &str = include_str!("../data/jwks/cds-hooks-sandbox-es384.jwks.json");

fn refusal(clients: Vec<ClientSettings>, keys: KeySettings) -> Option<SettingsError> {
    build(clients, keys, None, &ManualClock::new(NOW)).0.err()
}

/// The keys complained about, where a client with these lines is set up.
fn complaints(lines: &str) -> Vec<&'static str> {
    let settings = client(&format!("id = \"ehr\"\n{lines}"));
    let error = refusal(vec![settings], KeySettings::default());
    error.map(|e| e.0.into_iter().map(|p| p.key).collect()).unwrap_or_default()
}

#[test]
fn the_defaults_are_what_the_standard_says() {
    let settings = client("id = \"ehr\"\nissuer = \"i\"\njwks_url = \"https://k.example/j\"");
    let json = serde_json::to_value(&settings).unwrap();
    assert_eq!(json["algorithms"], json!(["ES384", "RS384"]));
    assert_eq!(json["audience"], json!(["endpoint", "service"]));
    assert_eq!(json["max_lifetime"], "5m");
    assert_eq!(json["clock_skew"], "30s");
    assert_eq!(settings.replay, ReplayMode::Reject);
    assert!(!settings.allow_public_test_keys && !settings.allow_private_key_server);
    let again: ClientSettings = toml::from_str(&toml::to_string(&settings).unwrap()).unwrap();
    assert_eq!(again, settings);
    let keys = KeySettings::default();
    assert_eq!(toml::from_str::<KeySettings>(&toml::to_string(&keys).unwrap()).unwrap(), keys);
    assert_eq!(toml::from_str::<KeySettings>("").unwrap(), keys);
}

#[test]
fn symmetric_algorithms_and_none_cannot_be_expressed() {
    for alg in ["none", "None", "HS256", "HS384", "HS512", "ES512", "dir", "es384", ""] {
        let text = format!("id = \"e\"\nissuer = \"i\"\nalgorithms = [{alg:?}]");
        assert!(toml::from_str::<ClientSettings>(&text).is_err(), "{alg}");
    }
    assert!(
        toml::from_str::<ClientSettings>("id = \"e\"\nissuer = \"i\"\nalgoritms = []").is_err()
    );
    assert!(toml::from_str::<ClientSettings>("id = \"e\"").is_err());
}

#[test]
fn each_unusable_line_is_named() {
    let url = "jwks_url = \"https://k.example/j\"";
    let with = |line: &str| complaints(&format!("issuer = \"i\"\n{url}\n{line}"));
    assert_eq!(with(""), Vec::<&str>::new());
    for (line, key) in [
        ("algorithms = []", "algorithms"),
        ("audience = []", "audience"),
        ("audience = [\"\"]", "audience"),
        ("jku = [\"\"]", "jku"),
        ("max_lifetime = \"0s\"", "max_lifetime"),
        ("max_lifetime = \"999999h\"", "max_lifetime"),
        ("clock_skew = \"11m\"", "clock_skew"),
        ("jwks_file = \"/x\"", "jwks_url"),
        ("jwks = { keys = [] }", "jwks_url"),
        ("key_server_ca_file = \"/does/not/exist\"", "key_server_ca_file"),
    ] {
        assert_eq!(with(line), [key], "{line}");
    }
    assert_eq!(complaints(&format!("issuer = \"\"\n{url}")), ["issuer"]);
    assert_eq!(complaints(&format!("issuer = \" i\"\n{url}")), ["issuer"]);
    assert_eq!(complaints("issuer = \"i\""), ["jwks_url"]);
    assert_eq!(complaints("issuer = \"i\"\njwks_file = \"/does/not/exist\""), ["jwks_file"]);
    assert_eq!(complaints("issuer = \"i\"\njwks = { keys = [] }"), ["jwks"]);
    assert_eq!(complaints("issuer = \"i\"\njwks = { kees = [] }"), ["jwks"]);
}

#[test]
fn key_servers_are_https_but_for_this_machine() {
    let of = |url: &str, private: bool| {
        complaints(&format!(
            "issuer = \"i\"\njwks_url = {url:?}\nallow_private_key_server = {private}"
        ))
    };
    for url in ["http://localhost:8080/j", "http://127.0.0.1/j", "http://[::1]/j"] {
        assert!(of(url, true).is_empty(), "{url}");
        assert_eq!(of(url, false), ["jwks_url"], "{url}");
    }
    for url in [
        "http://k.example/j",
        "http://10.0.0.1/j",
        "http://localhost.example/j",
        "ftp://localhost/j",
        "file:///etc/passwd",
        "data:,x",
        "https://user:secret@k.example/j",
        "https://user@k.example/j",
        "k.example/j",
        "",
    ] {
        assert_eq!(of(url, true), ["jwks_url"], "{url}");
    }
}

#[test]
fn clients_whose_private_keys_are_public_need_leave() {
    let url = "jwks_url = \"https://k.example/j\"";
    for issuer in [
        "https://sandbox.cds-hooks.org",
        "https://legacy-sandbox.cds-hooks.org",
        "https://inferno.healthit.gov/suites/custom/crd_server",
        "http://localhost:4567/custom/crd_server",
    ] {
        let lines = format!("issuer = {issuer:?}\n{url}");
        assert_eq!(complaints(&lines), ["issuer"], "{issuer}");
        assert!(complaints(&format!("{lines}\nallow_public_test_keys = true")).is_empty());
    }
    let lines =
        "issuer = \"i\"\njwks_url = \"https://sandbox.cds-hooks.org/.well-known/jwks.json\"";
    assert_eq!(complaints(lines), ["jwks_url"]);
    let set: Value = serde_json::from_str(SANDBOX).unwrap();
    let error = refusal(vec![inline("e", "i", set.clone(), "")], KeySettings::default()).unwrap();
    assert!(error.to_string().contains("public knowledge"), "{error}");
    let allowed = inline("e", "i", set, "allow_public_test_keys = true");
    assert_eq!(refusal(vec![allowed], KeySettings::default()), None);
}

#[test]
fn all_problems_of_all_clients_come_at_once_as_sentences() {
    let set = json!({"keys": [OURS.jwk("ES384", "a")]});
    let error = refusal(
        vec![
            inline("one", "same", set.clone(), "audience = []\nalgorithms = []"),
            inline("two", "same", set.clone(), "clock_skew = \"1h\""),
            inline("ONE", "i", set, ""),
            client("id = \"four\"\nissuer = \"four\"\njwks_url = \"http://k.example/\""),
        ],
        KeySettings { max_stale: hookgate::units::Period::secs(1), ..KeySettings::default() },
    )
    .unwrap();
    let found: BTreeSet<(Option<usize>, &str)> =
        error.0.iter().map(|p| (p.client.as_ref().map(|c| c.0), p.key)).collect();
    let expected = BTreeSet::from([
        (None, "max_stale"),
        (Some(0), "algorithms"),
        (Some(0), "audience"),
        (Some(1), "issuer"),
        (Some(1), "clock_skew"),
        (Some(2), "id"),
        (Some(3), "jwks_url"),
    ]);
    assert_eq!(found, expected);
    let text = error.to_string();
    assert_eq!(text.lines().count(), 7);
    assert!(text.contains("client two: clock_skew: more than 10 minutes; write \"30s\""), "{text}");
}

#[test]
fn senseless_key_rules_are_named() {
    for (line, key) in [
        ("refresh_floor = \"0s\"", "refresh_floor"),
        ("refresh_ceiling = \"30s\"", "refresh_ceiling"),
        ("max_stale = \"1h\"", "max_stale"),
        ("fetch_timeout = \"10ms\"", "fetch_timeout"),
        ("fetch_timeout = \"2m\"", "fetch_timeout"),
        ("max_size = \"1B\"", "max_size"),
        ("unknown_kid_cooldown = \"0s\"", "unknown_kid_cooldown"),
        ("unknown_kid_wait = \"11s\"", "unknown_kid_wait"),
        ("backoff_min = \"0s\"", "backoff_min"),
        ("backoff_max = \"1ms\"", "backoff_max"),
        ("file_poll = \"0s\"", "file_poll"),
    ] {
        let keys: KeySettings = toml::from_str(line).unwrap();
        let error = refusal(vec![], keys).unwrap_or_else(|| panic!("{line}"));
        assert_eq!(error.0.iter().map(|p| p.key).collect::<Vec<_>>(), [key], "{line}");
    }
}
