//! In front of a service that others wrote and that knows nothing of hookgate: HealthChain, with the
//! configuration that the README shows.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a failing test is the report")]

mod gateway;
mod healthchain;
#[path = "../shared/port.rs"]
mod port;

use serde_json::{Value, json};

use crate::gateway::Gateway;
use crate::healthchain::HealthChain;

const HOOK_INSTANCE: &str = "9dc2d645-66ea-41ae-a931-660c96b23cca";
const CARD: &str = "5f2c4f2e-4b43-4f43-9c1b-0d7a6a5f5f01";
const SUGGESTION: &str = "5f2c4f2e-4b43-4f43-9c1b-0d7a6a5f5f02";
const TARGET: &str = "https://growth.example.org/chart?patient=p1&key=s3cret#latest";

async fn scene() -> (HealthChain, Gateway) {
    let service = HealthChain::start();
    let gateway = Gateway::in_front_of(&service.url).await;
    (service, gateway)
}

fn hook(name: &str) -> Value {
    let context = json!({"userId": "Practitioner/1", "patientId": "p1", "encounterId": "e1"});
    json!({"hook": name, "hookInstance": HOOK_INSTANCE, "context": context})
}

fn feedback(card: &Value, suggestion: &Value) -> Value {
    json!({"feedback": [{
        "card": card, "outcome": "accepted", "acceptedSuggestions": [{"id": suggestion}],
        "outcomeTimestamp": "2026-11-23T18:00:00Z",
    }]})
}

async fn cards(gateway: &Gateway, service: &str, name: &str) -> Value {
    let response = gateway.call(service, &hook(name)).await;
    assert_eq!(response.status(), 200, "{}", response.text().await.unwrap());
    response.json().await.unwrap()
}

#[tokio::test]
async fn discovery_is_where_the_standard_has_it() {
    let (_service, gateway) = scene().await;
    let response = gateway.http.get(format!("{}/cds-services", gateway.url)).send().await.unwrap();
    assert_eq!(response.status(), 200);
    let discovery: Value = response.json().await.unwrap();
    let ids: Vec<_> = discovery["services"].as_array().unwrap().iter().map(|s| &s["id"]).collect();
    assert_eq!(ids, ["growth-chart", "discharge-note"]);
}

#[tokio::test]
async fn a_signed_call_gets_cards_whose_link_opens_once() {
    let (service, gateway) = scene().await;
    let answer = cards(&gateway, "growth-chart", "patient-view").await;
    let card = &answer["cards"][0];
    assert!(!answer.to_string().contains("s3cret"), "{answer}");
    assert_ne!(card["uuid"], CARD);
    assert_ne!(card["suggestions"][0]["uuid"], SUGGESTION);
    assert_eq!(
        card["suggestions"][0]["actions"][0]["resource"]["subject"]["reference"],
        "Patient/p1"
    );
    assert_eq!(
        card["links"][1]["url"], "https://growth.example.org/launch.html",
        "smart links stay"
    );
    let link = card["links"][0]["url"].as_str().unwrap();
    assert!(link.starts_with(&format!("{}/open/", gateway.url)), "{link}");

    let click = || gateway.http.get(link).header("sec-fetch-mode", "navigate").send();
    let first = click().await.unwrap();
    assert_eq!(
        (first.status().as_u16(), &first.headers()["location"]),
        (303, &TARGET.parse().unwrap())
    );
    assert_eq!(click().await.unwrap().status(), 410);

    let unsigned = format!("{}/cds-services/growth-chart", gateway.url);
    let refused = gateway.http.post(unsigned).json(&hook("patient-view")).send().await.unwrap();
    assert_eq!(refused.status(), 401);
    let direct = format!("{}/cds/cds-services/growth-chart", service.url);
    let direct = gateway.http.post(direct).json(&hook("patient-view")).send().await.unwrap();
    assert_eq!(direct.status(), 200, "HealthChain itself asks nobody who is calling");
}

#[tokio::test]
async fn an_error_of_the_service_keeps_its_status_and_loses_its_body() {
    let (service, gateway) = scene().await;
    let mut call = hook("patient-view");
    call["context"] = json!({"userId": "Practitioner/s3cret"});
    let direct = format!("{}/cds/cds-services/growth-chart", service.url);
    let direct = gateway.http.post(direct).json(&call).send().await.unwrap();
    assert_eq!(direct.status(), 422);
    assert!(
        direct.text().await.unwrap().contains("s3cret"),
        "HealthChain repeats what it was sent"
    );

    let masked = gateway.call("growth-chart", &call).await;
    assert_eq!(masked.status(), 422);
    let body = masked.text().await.unwrap();
    assert!(!body.contains("s3cret") && !body.contains("Field required"), "{body}");
}

#[tokio::test]
async fn feedback_reaches_the_service_once_with_its_own_ids() {
    let (service, gateway) = scene().await;
    let answer = cards(&gateway, "growth-chart", "patient-view").await;
    let card = &answer["cards"][0];
    let entries = feedback(&card["uuid"], &card["suggestions"][0]["uuid"]);
    for _ in 0..2 {
        let response = gateway.call("growth-chart/feedback", &entries).await;
        assert_eq!(response.status(), 200, "{}", response.text().await.unwrap());
    }
    let told = gateway.http.get(format!("{}/outcomes", service.url)).send().await.unwrap();
    let told: Value = told.json().await.unwrap();
    assert_eq!(told, feedback(&json!(CARD), &json!(SUGGESTION))["feedback"]);
}

#[tokio::test]
async fn where_healthchain_has_no_way_for_feedback_the_ehr_learns_it() {
    let (_service, gateway) = scene().await;
    let answer = cards(&gateway, "discharge-note", "encounter-discharge").await;
    let entries = json!({"feedback": [{
        "card": answer["cards"][0]["uuid"], "outcome": "overridden",
        "outcomeTimestamp": "2026-11-23T18:00:00Z",
    }]});
    let response = gateway.call("discharge-note/feedback", &entries).await;
    assert_eq!(response.status(), 404);
    let body = response.text().await.unwrap();
    assert!(!body.contains("Not Found"), "{body}");
}
