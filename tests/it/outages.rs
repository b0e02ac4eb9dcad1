//! What a call meets when something that the gateway needs is away, and how it comes back.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use hookgate::demo::ehr::SigningKey;
use hookgate::demo::server::json;
use serde_json::Value;

use crate::harness::{
    Ehr, Extra, Refused, Scene, Service, hook_body, logged_once, outcome, refused, request_id,
};

const UNAVAILABLE: Refused = outcome(503, "keys-unavailable", "keys-unavailable");

/// An EHR's key server: what it answers, and whether it is there.
struct KeyServer {
    server: Service,
    jwks: Arc<Mutex<Option<String>>>,
}

impl KeyServer {
    async fn down() -> Self {
        let jwks = Arc::new(Mutex::new(None::<String>));
        let served = Arc::clone(&jwks);
        let server = Service::start(move |_| match served.lock().unwrap().clone() {
            Some(jwks) => json(200, jwks),
            None => json(503, "{}".to_owned()),
        })
        .await;
        Self { server, jwks }
    }

    fn serves(&self, jwks: Option<String>) {
        *self.jwks.lock().unwrap() = jwks;
    }

    fn url(&self) -> String {
        format!("{}/jwks", self.server.url())
    }

    fn asked(&self) -> usize {
        self.server.arrivals().len()
    }
}

async fn by(scene: &Scene, ehr: &Ehr) -> reqwest::Response {
    let url = scene.endpoint();
    scene.post_with(&url, &ehr.token(scene, &url), hook_body()).await
}

/// Calls until it is answered so, as an EHR does that tries again: what the gateway fetches in the
/// background comes when it comes.
async fn until(scene: &Scene, ehr: &Ehr, status: u16) {
    for _ in 0..1000 {
        if by(scene, ehr).await.status() == status {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never {status}");
}

/// A call waits for a new key for as long as it may.
async fn with_remote(keys: &KeyServer, remote: &Ehr) -> Scene {
    let tables = "[limits]\nmode = \"off\"\n[jwks]\nunknown_kid_wait = \"10s\"\n".to_owned();
    let lists = remote.fetched(&keys.url());
    Scene::new(&Extra { tables, lists, ..Extra::default() }).await
}

#[tokio::test]
async fn a_key_server_that_is_down_at_the_start_is_no_fault_of_the_token() {
    let (keys, remote) = (KeyServer::down().await, Ehr::new("remote"));
    let scene = with_remote(&keys, &remote).await;
    let token = remote.token(&scene, &scene.endpoint());
    let response = scene.post_with(&scene.endpoint(), &token, hook_body()).await;
    let wait = refused(response, UNAVAILABLE, "down").await.unwrap();
    assert!(wait.parse::<u64>().unwrap() <= 30, "{wait}");
    scene.until_pending(&["keys: remote"]).await;
    assert_eq!(scene.post(&scene.endpoint(), hook_body()).await.status(), 200, "another client's");
    let unsigned = format!("{}.AAAA", token.rsplit_once('.').unwrap().0);
    let response = scene.post_with(&scene.endpoint(), &unsigned, hook_body()).await;
    refused(response, UNAVAILABLE, "nobody can tell").await;

    keys.serves(Some(remote.key.jwks()));
    assert_eq!(scene.pending().await.1, ["keys: remote"], "it is not asked at once");
    scene.advance(Duration::from_secs(60));
    scene.until_pending(&[]).await;
    let response = scene.post_with(&scene.endpoint(), &token, hook_body()).await;
    assert_eq!(response.status(), 200, "the same token: nothing had spent it");
    assert_eq!(scene.service.arrivals().len(), 2);
}

#[tokio::test]
async fn held_keys_outlive_the_key_server_and_an_unknown_one_is_not_called_bad_meanwhile() {
    let (keys, remote) = (KeyServer::down().await, Ehr::new("remote"));
    keys.serves(Some(remote.key.jwks()));
    let scene = with_remote(&keys, &remote).await;
    until(&scene, &remote, 200).await;
    keys.serves(None);
    scene.advance(Duration::from_secs(3600));
    assert_eq!(by(&scene, &remote).await.status(), 200);
    let next = Ehr { id: "remote", key: SigningKey::generate("next-key").unwrap() };
    refused(by(&scene, &next).await, UNAVAILABLE, "it may be the new key").await;
    assert_eq!(by(&scene, &remote).await.status(), 200);
    assert_eq!(scene.pending().await, (200, vec![]));
    // A day is as long as keys may be used without having been seen again.
    scene.advance(Duration::from_secs(24 * 3600));
    refused(by(&scene, &remote).await, UNAVAILABLE, "too old").await;
    scene.until_pending(&["keys: remote"]).await;
}

#[tokio::test]
async fn a_new_key_is_taken_up_by_the_call_that_brings_it_and_a_withdrawn_one_dies() {
    let (keys, remote) = (KeyServer::down().await, Ehr::new("remote"));
    keys.serves(Some(remote.key.jwks()));
    let scene = with_remote(&keys, &remote).await;
    until(&scene, &remote, 200).await;
    let next = Ehr { id: "remote", key: SigningKey::generate("next-key").unwrap() };
    keys.serves(Some(next.key.jwks()));
    let asked = keys.asked();
    let within = by(&scene, &next).await;
    refused(within, outcome(401, "unauthorized", "kid"), "it has just been asked").await;
    assert_eq!(keys.asked(), asked, "within the cool-down nobody is asked");
    scene.advance(Duration::from_secs(31));
    assert_eq!(by(&scene, &next).await.status(), 200);
    assert_eq!(keys.asked(), asked + 1);
    refused(by(&scene, &remote).await, outcome(401, "unauthorized", "kid"), "withdrawn").await;
}

fn room_for(entries: u64) -> Extra {
    // These lines stand right below those of `[state]`.
    Extra { tables: format!("max_entries = {entries}\n"), ..Extra::default() }
}

#[tokio::test]
async fn a_full_store_refuses_calls_until_something_has_expired() {
    // One place for the token's id, one for the record of the ids on the card.
    let scene = Scene::new(&room_for(2)).await;
    assert!(scene.cards().await["cards"][0]["uuid"].is_string());
    let full = outcome(503, "store", "store-full");
    for url in [scene.endpoint(), scene.feedback()] {
        refused(scene.post(&url, hook_body()).await, full, "full").await;
    }
    assert_eq!(scene.service.arrivals().len(), 1, "what cannot be remembered is not done");
    // The token is over after five minutes and the skew, the card's record after a day.
    scene.advance(Duration::from_secs(330));
    let answer = scene.cards().await;
    assert!(answer["cards"][0].get("uuid").is_none(), "one place is free: {answer}");
    scene.advance(Duration::from_secs(24 * 3600));
    assert!(scene.cards().await["cards"][0]["uuid"].is_string());
}

/// The clinician gets the cards; only reports about them cannot be told apart.
#[tokio::test]
async fn cards_go_out_without_ids_where_what_they_stand_for_cannot_be_kept() {
    let scene = Scene::new(&room_for(1)).await;
    let response = scene.post(&scene.endpoint(), hook_body()).await;
    assert_eq!(response.status(), 200);
    let line = logged_once(&request_id(&response), "without ids");
    assert_eq!(line["observed"], "ids-not-recorded", "{line}");
    let answer: Value = response.json().await.unwrap();
    let card = &answer["cards"][0];
    assert!(card.get("uuid").is_none(), "{card}");
    for suggestion in card["suggestions"].as_array().unwrap() {
        assert!(suggestion.get("uuid").is_none() && suggestion["label"].is_string(), "{card}");
    }
    let link = card["links"][0]["url"].as_str().unwrap();
    assert!(link.starts_with(&scene.public_url), "a link needs no place: {link}");
    let metric = "hookgate_observed_total{way=\"hook\",reason=\"ids-not-recorded\"}";
    assert_eq!(scene.sample(metric).await, 1);
}
