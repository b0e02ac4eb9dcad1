//! A hook call, from the EHR to the service and back.

use serde_json::Value;

use crate::harness::{Extra, HOOK_INSTANCE, Scene, hook_body};

#[tokio::test]
async fn a_signed_call_gets_its_cards_with_links_and_ids_replaced() {
    let scene = Scene::new(&Extra::default()).await;
    let answer = scene.cards().await;
    let card = &answer["cards"][0];
    let link = card["links"][0]["url"].as_str().unwrap();
    assert!(link.starts_with(&format!("{}/open/", scene.public_url)), "{link}");
    assert_ne!(card["uuid"], "card-1");
    assert!(!answer.to_string().contains("4711"), "{answer}");
    let arrivals = scene.service.arrivals();
    assert_eq!(arrivals.len(), 1);
    assert_eq!(arrivals[0].body, hook_body());
    assert_eq!(arrivals[0].headers["x-hookgate-client"], "ehr");
    assert_eq!(arrivals[0].headers["x-hookgate-hook-instance"], HOOK_INSTANCE);
    assert!(!arrivals[0].headers.contains_key("authorization"));
}

#[tokio::test]
async fn a_call_without_a_token_never_reaches_the_service() {
    let scene = Scene::new(&Extra::default()).await;
    let response = scene.http().post(scene.endpoint()).body(hook_body()).send().await.unwrap();
    assert_eq!(response.status(), 401);
    assert_eq!(response.headers()["www-authenticate"], "Bearer");
    let outcome: Value = response.json().await.unwrap();
    assert_eq!(outcome["issue"][0]["details"]["coding"][0]["code"], "unauthorized");
    assert!(scene.service.arrivals().is_empty());
}
