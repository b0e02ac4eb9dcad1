//! What must not leave: tokens, bodies, targets and ids stand in no log line, no audit event, no span and no metric.
//! Every scene of every test is searched for them when it ends; here is that the search finds them.

use serde_json::Value;

use crate::harness::{AUDIT, Extra, HOOK_INSTANCE, Scene, all_lines, credentials_in};

#[tokio::test]
async fn no_log_line_and_no_metric_holds_a_secret_or_a_patient() {
    let scene = Scene::new(&Extra::default()).await;
    let url = scene.endpoint();
    let body = serde_json::json!({
        "hook": "patient-view", "hookInstance": "7a3c0b3e-2c0f-4d53-9c5a-9b1f6c0a4e11",
        "fhirServer": "https://fhir.example.org/r4",
        "fhirAuthorization": {"access_token": "fhir-access-s3cr3t", "token_type": "Bearer"},
        "context": {"userId": "Practitioner/1", "patientId": "patient-of-the-secrets-test"},
        "prefetch": {"patient": {"name": [{"family": "Geheimrat"}]}},
    })
    .to_string();
    let token = scene.token(&url);
    let answer = scene.post_with(&url, &token, body.clone()).await;
    assert_eq!(answer.status(), 200);
    let cards: Value = answer.json().await.unwrap();
    let link = cards["cards"][0]["links"][0]["url"].as_str().unwrap();
    let uuid = cards["cards"][0]["uuid"].as_str().unwrap();

    // Refused in several ways, each with something secret in it.
    let broken = body.replace("\"hookInstance\"", "\"hookInstance\": 4711, \"id\"");
    assert_eq!(scene.post(&url, broken).await.status(), 400);
    assert_eq!(scene.post_with(&url, &token, body.clone()).await.status(), 401);
    let cut = &token[..token.len() - 4];
    assert_eq!(scene.post_with(&url, cut, body).await.status(), 401);
    let open = || scene.http().get(link).header("sec-fetch-mode", "navigate").send();
    let first = open().await.unwrap();
    assert_eq!(first.status(), 303);
    let cookie = first.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap();
    assert_eq!(open().await.unwrap().status(), 410);
    let feedback = serde_json::json!({"feedback": [{
        "card": uuid, "outcome": "overridden", "outcomeTimestamp": "2026-11-23T18:00:00Z",
        "overrideReason": {"userComment": "Frau Geheimrat wishes otherwise"},
    }]});
    let to = format!("{url}/feedback");
    assert_eq!(scene.post(&to, feedback.to_string()).await.status(), 200);

    let signature = token.rsplit('.').next().unwrap();
    let link_token = link.rsplit('/').next().unwrap();
    let cookie_value = cookie.split('=').nth(1).unwrap();
    let audit = std::fs::read_to_string(scene.directory().join(AUDIT)).unwrap();
    for told in [&audit, &all_lines()] {
        assert!(told.contains("7a3c0b3e-2c0f-4d53-9c5a-9b1f6c0a4e11"), "nothing was captured");
    }
    let told = format!("{}\n{audit}\n{}", all_lines(), scene.metrics().await);
    for secret in [
        &token,
        signature,
        cut,
        "fhir-access-s3cr3t",
        "patient-of-the-secrets-test",
        "Geheimrat",
        "session=4711",
        link_token,
        uuid,
        cookie_value,
    ] {
        assert!(!told.contains(secret), "{secret} is told");
    }
}

/// The search of every scene can fail: what is secret is found in each signal that tells it.
#[tokio::test]
async fn what_is_told_and_secret_is_found_in_each_signal() {
    let scene = Scene::new(&Extra::default()).await;
    scene.cards().await;
    assert_eq!(scene.leaks(), [""; 0]);
    for (secret, signals) in [
        (HOOK_INSTANCE, vec!["log", "audit"]),
        ("hookgate_requests_total", vec!["metrics"]),
        ("POST /cds-services/{id}", vec!["spans"]),
    ] {
        scene.secrets().add(secret);
        let mut leaks = scene.leaks();
        for signal in signals {
            // A span is told when its exporter comes to it.
            for _ in 0..100 {
                if leaks.contains(&format!("{signal}: {secret}")) {
                    break;
                }
                leaks = scene.leaks();
            }
            assert!(leaks.contains(&format!("{signal}: {secret}")), "{signal}: {leaks:?}");
        }
        scene.secrets().forget(secret);
    }
    assert_eq!(scene.leaks(), [""; 0]);
}

/// Whatever has the form of a credential is found, though nobody said that it is one.
#[test]
fn a_credential_is_known_by_its_form() {
    let token = format!("{}.{}.{}", "eyJhbGciOiJFUzM4NCJ9", "eyJpc3MiOiJlaHIifQ", "x".repeat(128));
    let link = format!("https://cds.example/open/{}", "a".repeat(234));
    for told in [
        token.as_str(),
        &link,
        "id 0193f1a2-7b1c-8d2e-9f3a-4b5c6d7e8f90 here",
        "-----BEGIN PRIVATE KEY-----",
        "__Host-hookgate=abc",
    ] {
        assert!(!credentials_in(told).is_empty(), "{told}");
    }
    for told in [
        "0193f1a2-7b1c-7d2e-9f3a-4b5c6d7e8f90",
        "4bf92f3577b34da6a3ce929d0e0e4736",
        "GET /open/{token}",
        "links-sealed=2,links-kept-smart=1",
    ] {
        assert_eq!(credentials_in(told), [""; 0]);
    }
}
