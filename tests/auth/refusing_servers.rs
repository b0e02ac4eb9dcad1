//! Key servers that are slow, broken, hostile or not where they should be.

use std::time::Duration;

use hookgate::gateway::auth::{AuthReason, KeySettings};
use hookgate::units::Period;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::gate::{Gate, ISSUER, client};
use crate::server::{Reply, Server};
use crate::signer::OURS;

/// Not to wait long for what never comes.
fn quick() -> KeySettings {
    KeySettings { fetch_timeout: Period::millis(400), ..KeySettings::default() }
}

/// What does come is never late.
fn patient() -> KeySettings {
    KeySettings { fetch_timeout: Period::secs(30), ..KeySettings::default() }
}

fn raw(text: &str) -> Reply {
    Reply::Raw(text.replace('\n', "\r\n").into_bytes())
}

async fn gate_for(server: &Server, keys: KeySettings) -> Gate {
    let settings = client(&format!("id = \"ehr\"\nissuer = {ISSUER:?}\n{}", server.toml()));
    Gate::open(vec![settings], keys)
}

#[tokio::test]
async fn a_good_set_is_taken_whatever_its_content_type() {
    let set = OURS.set().to_string();
    for headers in ["", "content-type: application/jwk-set+json\r\n", "content-type: text/html\r\n"]
    {
        let server = Server::start(Reply::Set(set.clone(), headers)).await;
        let gate = gate_for(&server, patient()).await;
        gate.until("ehr", |s| s.kids.len() == 9).await;
        assert!(gate.auth.pending().is_empty());
        let request = server.seen().to_ascii_lowercase();
        assert!(request.starts_with("get /jwks.json http/1.1\r\n"), "{request}");
        assert!(request.contains("\r\naccept: application/jwk-set+json"), "{request}");
        assert!(request.contains("\r\nuser-agent: hookgate/"), "{request}");
        assert!(!request.contains("authorization") && !request.contains("cookie"), "{request}");
    }
}

#[tokio::test]
async fn one_malformed_key_loses_only_itself() {
    let good = OURS.jwk("ES384", "good");
    let set = |bad: serde_json::Value| json!({"keys": [bad, good]}).to_string();
    for (what, code, bad) in [
        ("null", "malformed", json!(null)),
        ("a number", "malformed", json!(1)),
        ("empty", "malformed", json!({})),
        ("numeric kid", "malformed", json!({"kty": "EC", "kid": 1})),
        ("unknown kty", "type", json!({"kty": "AKP", "kid": "x"})),
        ("P-521", "type", json!({"kty": "EC", "crv": "P-521", "kid": "x", "x": "AA", "y": "AA"})),
        (
            "off the curve",
            "point",
            json!({"kty": "EC", "crv": "P-256", "kid": "x", "x": "A".repeat(43), "y": "A".repeat(43)}),
        ),
        ("RSA without n", "malformed", json!({"kty": "RSA", "kid": "x", "e": "AQAB"})),
        (
            "RSA of 1024 bits",
            "size",
            json!({"kty": "RSA", "kid": "x", "e": "AQAB", "n": "_".repeat(170) + "8"}),
        ),
        (
            "RSA with e 1",
            "size",
            json!({"kty": "RSA", "kid": "x", "e": "AQ", "n": "_".repeat(341) + "w"}),
        ),
        ("no kid", "no-kid", json!({"kty": "OKP", "crv": "Ed25519", "x": "A".repeat(43)})),
        ("symmetric", "symmetric", json!({"kty": "oct", "kid": "x", "k": "AAAA"})),
        (
            "private",
            "private",
            json!({"kty": "OKP", "crv": "Ed25519", "kid": "x", "x": "A".repeat(43), "d": "A"}),
        ),
        (
            "for encryption",
            "use",
            json!({"kty": "OKP", "crv": "Ed25519", "kid": "x", "x": "A".repeat(43), "use": "enc"}),
        ),
        (
            "bad alg",
            "alg",
            json!({"kty": "OKP", "crv": "Ed25519", "kid": "x", "x": "A".repeat(43), "alg": "ES256"}),
        ),
    ] {
        let server = Server::start(Reply::Set(set(bad), "")).await;
        let gate = gate_for(&server, patient()).await;
        gate.until("ehr", |s| s.kids == ["good"]).await;
        assert_eq!(gate.auth.status()[0].refused, [code], "{what}");
        gate.call(&gate.token(&OURS, ISSUER, "ES384", "good")).await.unwrap();
        // Nothing is wrong with a key for encryption.
        let counted = u8::from(code != "use");
        let line = format!("hookgate_jwks_keys_refused{{client=\"ehr\"}} {counted}\n");
        assert!(gate.metrics().contains(&line), "{what}");
    }
}

#[tokio::test]
async fn each_failure_has_its_code_and_means_503() {
    let elsewhere = Server::start(Reply::Set(OURS.set().to_string(), "")).await;
    let redirect =
        format!("HTTP/1.1 302 Found\nlocation: {}\ncontent-length: 0\n\n", elsewhere.url());
    let set = OURS.set().to_string();
    let long = format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{}", " ".repeat(300 * 1024));
    let rows = [
        ("status", raw("HTTP/1.1 500 No\ncontent-length: 0\n\n")),
        ("status", raw("HTTP/1.1 404 No\ncontent-length: 0\n\n")),
        ("status", raw("HTTP/1.1 204 No\n\n")),
        ("status", raw("HTTP/1.1 206 Part\ncontent-length: 11\n\n{\"keys\":[]}")),
        ("redirect", raw(&redirect)),
        ("redirect", raw(&redirect.replace("302 Found", "308 Permanent Redirect"))),
        ("broken", raw("SSH-2.0-OpenSSH_9.2\n")),
        ("broken", raw("")),
        ("broken", raw("HTTP/1.1 200 OK\ncontent-length: 1000\n\n{\"keys\":[")),
        ("not-a-set", Reply::Set("{\"keys\":[".into(), "")),
        ("not-a-set", Reply::Set("<html>log in</html>".into(), "")),
        ("not-a-set", Reply::Set("[]".into(), "")),
        ("not-a-set", Reply::Set("{}".into(), "")),
        ("not-a-set", Reply::Set("{\"keys\":{}}".into(), "")),
        ("not-a-set", Reply::Set("{\"keys\":\"none\"}".into(), "")),
        ("not-a-set", Reply::Set(format!("{set}{set}"), "")),
        ("no-usable-key", Reply::Set("{\"keys\":[]}".into(), "")),
        ("no-usable-key", Reply::Set("{\"keys\":[null,1,{}]}".into(), "")),
        ("encoding", Reply::Set(set.clone(), "content-encoding: gzip\r\n")),
        ("too-large", raw("HTTP/1.1 200 OK\ncontent-length: 262145\n\n")),
        ("too-large", Reply::Raw(long.into_bytes())),
        ("timeout", Reply::Hang),
        ("timeout", Reply::Slow(Duration::from_secs(30), set)),
        ("tls", Reply::Down),
    ];
    for (code, reply) in rows {
        let server = Server::start(reply.clone()).await;
        let keys = if code == "timeout" { quick() } else { patient() };
        let gate = gate_for(&server, keys).await;
        gate.until("ehr", |s| s.last_error.is_some()).await;
        let found = gate.auth.status()[0].last_error.unwrap();
        // A peer that hangs up at once shows as a failed handshake or as no connection.
        assert!(
            found == code || (code == "tls" && found == "unreachable"),
            "{code}, not {found}: {reply:?}"
        );
        let reason = gate.reason(&gate.token(&OURS, ISSUER, "ES384", "ES384")).await;
        assert!(matches!(reason, AuthReason::KeysUnavailable { .. }), "{code}: {reason}");
        assert_eq!(gate.auth.pending().len(), 1);
        let counted = format!("hookgate_jwks_fetches_total{{client=\"ehr\",outcome=\"{found}\"}}");
        assert!(gate.metrics().contains(&counted), "{}", gate.metrics());
    }
    assert_eq!(elsewhere.requests(), 0, "a redirect was followed");
}

#[tokio::test]
async fn a_server_that_nobody_vouches_for_is_not_believed() {
    let (server, other) = (
        Server::start(Reply::Set(OURS.set().to_string(), "")).await,
        Server::start(Reply::Hang).await,
    );
    let settings = client(&format!(
        "id = \"ehr\"\nissuer = {ISSUER:?}\njwks_url = {:?}\nallow_private_key_server = true\nkey_server_ca_file = {:?}",
        server.url(),
        other.ca.path()
    ));
    let gate = Gate::open(vec![settings], patient());
    gate.until("ehr", |s| s.last_error == Some("tls")).await;
    assert_eq!(server.requests(), 0);
}

#[tokio::test]
async fn private_addresses_are_not_dialled_by_name_nor_by_number() {
    let server = Server::start(Reply::Set(OURS.set().to_string(), "")).await;
    let port = server.address.port();
    for host in [
        "localhost",
        "LOCALHOST",
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f.0.0.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "10.0.0.1",
        "169.254.169.254",
        "[fd00::1]",
        "[fe80::1]",
        "0.0.0.0",
    ] {
        let settings = client(&format!(
            "id = \"ehr\"\nissuer = {ISSUER:?}\njwks_url = \"https://{host}:{port}/jwks.json\"\nkey_server_ca_file = {:?}",
            server.ca.path()
        ));
        let gate = Gate::open(vec![settings], patient());
        gate.until("ehr", |s| s.last_error.is_some()).await;
        assert_eq!(gate.auth.status()[0].last_error, Some("address"), "{host}");
    }
    assert_eq!(server.requests(), 0);
}

#[tokio::test]
async fn this_machine_may_be_asked_in_plain_http_where_that_is_allowed() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = [0; 1024];
            let _ = stream.read(&mut request).await;
            let set = OURS.set().to_string();
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", set.len());
            let _ = stream.write_all((head + &set).as_bytes()).await;
        }
    });
    for host in ["127.0.0.1", "localhost"] {
        let settings = client(&format!(
            "id = \"ehr\"\nissuer = {ISSUER:?}\njwks_url = \"http://{host}:{port}/\"\nallow_private_key_server = true"
        ));
        let gate = Gate::open(vec![settings], patient());
        gate.until("ehr", |s| s.kids.len() == 9).await;
    }
}
