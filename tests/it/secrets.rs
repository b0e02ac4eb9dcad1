//! What must not leave: tokens, bodies, targets and ids stand in no log line and no metric.

use serde_json::Value;

use crate::harness::{Extra, Scene, all_lines};

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
    let broken = body.replace("hookInstance", "hookInstanceX");
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
    let told = format!("{}\n{}", all_lines(), scene.metrics().await);
    assert!(told.contains("7a3c0b3e-2c0f-4d53-9c5a-9b1f6c0a4e11"), "the log was not captured");
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
