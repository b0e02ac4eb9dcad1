//! Clients that go on without the store: `when_store_down = "local"`.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use hookgate::clock::Clock;
use hookgate::demo::server::json;
use hookgate::store::{Key, Namespace, Store};
use serde_json::Value;

use crate::harness::{
    Ehr, Extra, HOOK_INSTANCE, ISSUER, NO_LIMITS, Refused, Scene, Trouble, card_with_links,
    hook_body, hook_body_of, logged_once, opened, outcome, refused, request_id, status,
};

const REPLAYED: Refused = outcome(401, "unauthorized", "replayed");
const DOWN: Refused = outcome(503, "store", "store-down");
const FULL: Refused = outcome(503, "store", "store-full");
/// What keeps a store from taking a token, and what callers are told who do not go on without it.
const TROUBLES: [(Trouble, Refused); 3] =
    [(Trouble::Down, DOWN), (Trouble::Unreached, DOWN), (Trouble::Full, FULL)];
const OTHER_INSTANCE: &str = "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea";

async fn scene(trouble: Trouble, client: &str) -> Scene {
    let tables = format!("{NO_LIMITS}[discovery]\nmode = \"authenticated\"\n");
    let client = format!("when_store_down = \"local\"\n{client}");
    let scene =
        Scene::new(&Extra { trouble: Some(trouble), tables, client, ..Extra::default() }).await;
    scene.outlast_the_skew();
    scene
}

/// A token whose maker's clock is ahead by so many seconds.
fn ahead(scene: &Scene, secs: u64) -> String {
    let iat = scene.clock.now().secs() + secs;
    scene.token_with(&scene.endpoint(), |claims| claims["iat"] = iat.into())
}

async fn bring(scene: &Scene, token: &str) -> reqwest::Response {
    scene.post_with(&scene.endpoint(), token, hook_body()).await
}

async fn list(scene: &Scene, token: &str) -> reqwest::Response {
    let url = format!("{}/cds-services", scene.public_url);
    scene.http().get(url).bearer_auth(token).send().await.unwrap()
}

/// Asserts that the call went on, and what was noted about it.
async fn went_on(response: reqwest::Response, observed: &str, what: &str) {
    assert_eq!(response.status(), 200, "{what}");
    let line = logged_once(&request_id(&response), what);
    let noted = line["observed"].as_str().unwrap_or_default().to_owned();
    for word in observed.split(' ') {
        assert!(noted.contains(word), "{what}: {line}");
    }
}

#[tokio::test]
async fn a_call_goes_on_once() {
    for (trouble, _) in TROUBLES {
        let what = format!("{trouble:?}");
        let scene = scene(trouble, "").await;
        scene.service.plays(|arrival| match arrival.target.as_str() {
            "/cds-services" => json(200, "{\"services\":[]}".to_owned()),
            _ => json(200, "{\"cards\":[]}".to_owned()),
        });
        let token = scene.token(&scene.endpoint());
        went_on(bring(&scene, &token).await, "spent-locally", &what).await;
        for _ in 0..2 {
            refused(bring(&scene, &token).await, REPLAYED, &what).await;
        }
        let token = scene.token(&format!("{}/cds-services", scene.public_url));
        went_on(list(&scene, &token).await, "spent-locally", &what).await;
        refused(list(&scene, &token).await, REPLAYED, &what).await;
        assert_eq!(scene.service.arrivals().len(), 2, "{what}");
        for (way, count) in [("hook", 1), ("discovery", 1)] {
            let metric =
                format!("hookgate_observed_total{{way=\"{way}\",reason=\"spent-locally\"}}");
            assert_eq!(scene.sample(&metric).await, count, "{what}");
        }
    }
}

/// What the cards have: a link whose target fits into its token, one whose target does not, ids.
#[tokio::test]
async fn cards_go_out_with_what_can_be_kept() {
    let long = format!("https://app.example/?q={}", "x".repeat(2000));
    for (trouble, links, ids, observed) in [
        (Trouble::None, 2, true, ""),
        (Trouble::Down, 1, false, "spent-locally ids-not-recorded links-not-kept"),
        (Trouble::Full, 1, false, "spent-locally ids-not-recorded links-not-kept"),
        (Trouble::Unreached, 0, false, "spent-locally ids-not-recorded links-not-kept"),
        // The token, the long target and the ids' record: each answer is lost once, and asked for again.
        (Trouble::ReplyLost { after: 0 }, 2, true, ""),
        (Trouble::ReplyLost { after: 1 }, 2, true, ""),
        (Trouble::ReplyLost { after: 2 }, 2, true, ""),
        // Lost however often it is asked for: the link goes, or the ids do.
        (Trouble::StepLost { after: 1 }, 1, true, "links-not-kept"),
        (Trouble::StepLost { after: 2 }, 2, false, "ids-not-recorded"),
    ] {
        let what = format!("{trouble:?}");
        let scene = scene(Trouble::None, "").await;
        let mut cards: Value =
            serde_json::from_str(&card_with_links(&["https://app.example/", &long])).unwrap();
        cards["cards"][0]["uuid"] = "card-1".into();
        cards["cards"][0]["suggestions"] = serde_json::json!([{"label": "a", "uuid": "s-1"}]);
        let cards = cards.to_string();
        scene.service.plays(move |_| json(200, cards.clone()));
        scene.store().gets(trouble);
        let response = scene.post(&scene.endpoint(), hook_body()).await;
        let line = logged_once(&request_id(&response), &what);
        assert_eq!(response.status(), 200, "{what}: {line}");
        let noted = line["observed"].as_str().unwrap_or_default();
        let (mut noted, mut expected): (Vec<&str>, Vec<&str>) =
            (noted.split([',', ' ']).collect(), observed.split(' ').collect());
        noted.sort_unstable();
        expected.sort_unstable();
        assert_eq!(noted, expected, "{what}");
        let answer: Value = response.json().await.unwrap();
        let card = &answer["cards"][0];
        let sealed = card["links"].as_array().map_or(&[][..], Vec::as_slice);
        assert_eq!(sealed.len(), links, "{what}: {card}");
        assert_eq!(card.get("links").is_some(), links > 0, "{what}: no empty array: {card}");
        assert!(!card.to_string().contains("app.example"), "{what}: {card}");
        for id in [&card["uuid"], &card["suggestions"][0]["uuid"]] {
            assert_eq!(id.is_string(), ids, "{what}: {card}");
        }
        assert_eq!(card["suggestions"][0]["label"], "a", "{what}");
        let dropped = "hookgate_cards_met_total{what=\"links-dropped-not-kept\"}";
        assert_eq!(scene.sample(dropped).await, 2 - links as u64, "{what}");
        scene.store().gets(Trouble::None);
        for (number, link) in sealed.iter().enumerate() {
            let answer = scene.click(link["url"].as_str().unwrap()).send().await.unwrap();
            let target = [("https://app.example/"), &long][number];
            opened(&answer, target);
        }
    }
}

#[tokio::test]
async fn what_comes_back_of_a_card_waits_for_the_store() {
    for (trouble, expected) in TROUBLES {
        let what = format!("{trouble:?}");
        let scene = scene(Trouble::None, "").await;
        let ids = scene.ids_of(HOOK_INSTANCE).await;
        let report = format!("{{\"feedback\":[{{\"card\":\"{}\"}}]}}", ids.card);
        let analytics = scene.analytics_url(&ids.suggestions[0]);
        scene.answers_reports(|_| status(200));
        scene.store().gets(trouble);
        let calls = [(scene.feedback(), report.as_str()), (analytics, "{}")];
        let tokens = [scene.token(&calls[0].0), scene.token(&calls[1].0)];
        for ((url, body), token) in calls.iter().zip(&tokens) {
            refused(scene.post_with(url, token, body.to_string()).await, expected, &what).await;
        }
        assert!(scene.reports().is_empty(), "{what}");
        scene.store().gets(Trouble::None);
        for ((url, body), token) in calls.iter().zip(&tokens) {
            // The same token: who was told to come again may.
            let response = scene.post_with(url, token, body.to_string()).await;
            assert_eq!(response.status(), 200, "{what}");
        }
        assert_eq!(scene.reports().len(), 2, "{what}");
    }
}

#[tokio::test]
async fn every_replay_mode_means_the_same_here() {
    for (trouble, _) in TROUBLES {
        for (mode, same, other) in
            [("reject", 401, 401), ("observe", 200, 200), ("same-request", 200, 401)]
        {
            let what = format!("{trouble:?} {mode}");
            let scene = scene(trouble, &format!("replay = \"{mode}\"")).await;
            let token = scene.token(&scene.endpoint());
            went_on(bring(&scene, &token).await, "spent-locally", &what).await;
            let again = bring(&scene, &token).await;
            assert_eq!(again.status(), same, "{what}");
            if same == 200 {
                went_on(again, "replayed spent-locally", &what).await;
            }
            let body = hook_body_of(OTHER_INSTANCE);
            let again = scene.post_with(&scene.endpoint(), &token, body).await;
            assert_eq!(again.status(), other, "{what}");
        }
    }
}

#[tokio::test]
async fn a_token_from_before_the_trouble_does_not_come_back_in_it() {
    for (trouble, _) in TROUBLES {
        let what = format!("{trouble:?}");
        let scene = scene(Trouble::None, "").await;
        let (hook, feedback) = (scene.token(&scene.endpoint()), scene.token(&scene.endpoint()));
        assert_eq!(bring(&scene, &hook).await.status(), 200);
        let none = "{\"feedback\":[]}";
        let response = scene.post_with(&scene.feedback(), &feedback, none).await;
        assert_eq!(response.status(), 200);
        scene.store().gets(trouble);
        for token in [&hook, &feedback] {
            refused(bring(&scene, token).await, REPLAYED, &what).await;
        }
    }
}

#[tokio::test]
async fn a_token_from_the_trouble_does_not_come_back_after_it_and_the_store_is_told() {
    for (trouble, _) in TROUBLES {
        let what = format!("{trouble:?}");
        let scene = scene(trouble, "").await;
        let mut claims = scene.claims(&scene.endpoint());
        claims["jti"] = "in-the-trouble".into();
        let token = scene.key.sign(&claims, None).unwrap();
        assert_eq!(bring(&scene, &token).await.status(), 200, "{what}");
        assert_eq!(scene.sample("hookgate_local_tokens_owed").await, 1, "{what}");
        scene.store().gets(Trouble::None);
        let key = Key::new(Namespace::Jti, &[ISSUER.as_bytes(), b"in-the-trouble"]);
        scene.advance(Duration::from_secs(5));
        for _ in 0..1000 {
            if scene.sample("hookgate_local_tokens_owed").await == 0 {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let behind = scene.store().behind();
        assert!(behind.get(key).await.unwrap().is_some(), "{what}: now all replicas know");
        refused(bring(&scene, &token).await, REPLAYED, &what).await;
    }
}

#[tokio::test]
async fn at_the_same_moment_it_is_refused_here_though_the_store_knows_nothing() {
    let scene = scene(Trouble::Down, "").await;
    let token = scene.token(&scene.endpoint());
    assert_eq!(bring(&scene, &token).await.status(), 200);
    scene.store().gets(Trouble::None);
    refused(bring(&scene, &token).await, REPLAYED, "nobody has told the store yet").await;
}

#[tokio::test]
async fn only_this_client_goes_on() {
    let careful = Ehr::new("careful");
    let tables = NO_LIMITS.to_owned();
    let client = "when_store_down = \"local\"".to_owned();
    let extra = Extra {
        trouble: Some(Trouble::Down),
        tables,
        client,
        lists: careful.inline(""),
        ..Extra::default()
    };
    let scene = Scene::new(&extra).await;
    scene.outlast_the_skew();
    let token = careful.token(&scene, &scene.endpoint());
    refused(bring(&scene, &token).await, DOWN, "the other client").await;
    assert_eq!(scene.post(&scene.endpoint(), hook_body()).await.status(), 200);
    scene.store().gets(Trouble::None);
    assert_eq!(bring(&scene, &token).await.status(), 200, "and its token is still good");
}

/// A replica that was just started cannot know what its predecessor let pass; and what that had told the
/// store may have been issued by a clock that is ahead by all of the skew.
#[tokio::test]
async fn after_a_restart_only_what_was_surely_issued_since_goes_on() {
    let mut scene = scene(Trouble::None, "").await;
    let (spent, kept) = (ahead(&scene, 25), ahead(&scene, 0));
    assert_eq!(bring(&scene, &spent).await.status(), 200, "the store takes it");
    scene.store().gets(Trouble::Down);
    scene.stop().await;
    scene.advance(Duration::from_secs(2));
    scene.start().await;
    for token in [&spent, &kept, &ahead(&scene, 0), &ahead(&scene, 5)] {
        refused(bring(&scene, token).await, DOWN, "perhaps from before").await;
    }
    scene.advance(Duration::from_secs(29));
    refused(bring(&scene, &spent).await, DOWN, "it is as old as it was").await;
    went_on(bring(&scene, &ahead(&scene, 1)).await, "spent-locally", "issued since").await;
}

/// Whoever is killed while the store is away takes with him what he let pass.
#[tokio::test]
async fn a_token_from_the_trouble_does_not_come_back_by_a_restart() {
    let unknown = outcome(503, "store", "use-unknown");
    for (trouble, down) in TROUBLES {
        let what = format!("{trouble:?}");
        let mut scene = scene(trouble, "").await;
        let spent = [ahead(&scene, 0), ahead(&scene, 5)];
        for token in &spent {
            went_on(bring(&scene, token).await, "spent-locally", &what).await;
        }
        refused(bring(&scene, &ahead(&scene, 6)).await, down, "nobody could tell later").await;
        // It can tell nobody, as if it had been killed.
        scene.stop().await;
        scene.store().gets(Trouble::None);
        scene.advance(Duration::from_secs(1));
        scene.start().await;
        let feedback = scene.post_with(&scene.feedback(), &spent[0], "{\"feedback\":[]}").await;
        refused(feedback, unknown, &what).await;
        for (token, wait) in spent.iter().zip(["6", "1"]) {
            let response = bring(&scene, token).await;
            assert_eq!(response.headers()["retry-after"], wait, "{what}");
            refused(response, unknown, &what).await;
        }
        scene.advance(Duration::from_secs(5));
        refused(bring(&scene, &spent[0]).await, unknown, "it is as old as it was").await;
        assert_eq!(bring(&scene, &ahead(&scene, 0)).await.status(), 200, "{what}");
    }
}

#[tokio::test]
async fn a_stop_in_good_order_tells_the_store_first() {
    for (trouble, _) in TROUBLES {
        let what = format!("{trouble:?}");
        let mut scene = scene(trouble, "").await;
        let token = ahead(&scene, 0);
        assert_eq!(bring(&scene, &token).await.status(), 200, "{what}");
        // The store is back, and nobody has looked since.
        scene.store().gets(Trouble::None);
        scene.stop().await;
        scene.start().await;
        refused(bring(&scene, &token).await, REPLAYED, &what).await;
    }
}

/// What a restart costs with a store that is well: nothing but a new token, and only those who go on
/// without it.
#[tokio::test]
async fn a_restart_keeps_nobody_waiting_for_long() {
    let careful = Ehr::new("careful");
    let client = "when_store_down = \"local\"".to_owned();
    let trouble = Some(Trouble::None);
    let extra = Extra { trouble, client, lists: careful.inline(""), ..Extra::default() };
    let mut scene = Scene::new(&extra).await;
    scene.advance(Duration::from_secs(60));
    let [spent, kept] = [(); 2].map(|()| ahead(&scene, 0));
    let others = careful.token(&scene, &scene.endpoint());
    assert_eq!(bring(&scene, &spent).await.status(), 200);
    scene.stop().await;
    scene.start().await;
    assert_eq!(bring(&scene, &others).await.status(), 200, "it never goes on without the store");
    refused(bring(&scene, &spent).await, REPLAYED, "the store knows it").await;
    let response = bring(&scene, &kept).await;
    assert_eq!(response.headers()["retry-after"], "5");
    refused(response, outcome(503, "store", "use-unknown"), "issued before").await;
    scene.advance(Duration::from_secs(5));
    assert_eq!(bring(&scene, &ahead(&scene, 0)).await.status(), 200);
    scene.stop().await;
    scene.reconfigure("when_store_down = \"local\"", "");
    scene.start().await;
    assert_eq!(bring(&scene, &kept).await.status(), 200, "it had not been used up");
}

#[tokio::test]
async fn observing_says_what_nobody_knows_and_remembers_from_then_on() {
    let mut scene = scene(Trouble::Down, "replay = \"observe\"").await;
    let [one, two] = [(); 2].map(|()| ahead(&scene, 0));
    went_on(bring(&scene, &one).await, "spent-locally", "known").await;
    scene.stop().await;
    scene.start().await;
    for (token, observed) in [
        (&one, "use-unknown spent-locally"),
        (&one, "replayed spent-locally"),
        (&ahead(&scene, 25), "use-unknown spent-locally"),
    ] {
        went_on(bring(&scene, token).await, observed, "in the trouble").await;
    }
    scene.advance(Duration::from_secs(6));
    let early = bring(&scene, &ahead(&scene, 30)).await;
    let line = logged_once(&request_id(&early), "a token that is surely from this process");
    assert!(!line["observed"].as_str().unwrap().contains("use-unknown"), "{line}");
    scene.stop().await;
    scene.store().gets(Trouble::None);
    scene.start().await;
    went_on(bring(&scene, &two).await, "use-unknown", "the store knows nothing").await;
    went_on(bring(&scene, &two).await, "replayed", "now it does").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_the_store_comes_and_goes_each_token_passes_at_most_once() {
    let scene = Arc::new(scene(Trouble::None, "").await);
    for round in 0..20 {
        let token = scene.token(&scene.endpoint());
        let before = scene.service.arrivals().len();
        let calls = (0..8).map(|_| {
            let (scene, token) = (Arc::clone(&scene), token.clone());
            async move { bring(&scene, &token).await.status().as_u16() }
        });
        let flipping = async {
            for trouble in [Trouble::Down, Trouble::None, Trouble::Full, Trouble::None] {
                scene.store().gets(trouble);
                tokio::time::sleep(Duration::from_micros(400)).await;
            }
        };
        let (statuses, ()) = tokio::join!(join_all(calls), flipping);
        let passed = statuses.iter().filter(|status| **status == 200).count();
        assert_eq!(passed, 1, "{round}: {statuses:?}");
        assert_eq!(scene.service.arrivals().len(), before + 1, "{round}");
    }
}
