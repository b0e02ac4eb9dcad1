//! A token is good once: which token, for how long, and what spends it.

use std::time::Duration;

use futures_util::future::join_all;
use hookgate::clock::Clock;
use hookgate::demo::server::json;
use serde_json::Value;

use crate::harness::{
    Ehr, Extra, HOOK_INSTANCE, Refused, Scene, card_with_link, hook_body, hook_body_of,
    logged_once, outcome, refused, request_id,
};

const OTHER_INSTANCE: &str = "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea";
const REPLAYED: Refused = outcome(401, "unauthorized", "replayed");

async fn scene(client: &str) -> Scene {
    Scene::new(&Extra { client: client.to_owned(), ..Extra::default() }).await
}

async fn bring(scene: &Scene, token: &str) -> reqwest::Response {
    scene.post_with(&scene.endpoint(), token, hook_body()).await
}

#[tokio::test]
async fn a_token_that_returns_is_refused_as_long_as_it_would_be_good() {
    let scene = scene("").await;
    let token = scene.token(&scene.endpoint());
    assert_eq!(bring(&scene, &token).await.status(), 200);
    for _ in 0..2 {
        refused(bring(&scene, &token).await, REPLAYED, "again").await;
    }
    // Signed anew it has another signature, and is the same token all the same.
    let again = scene.token_with(&scene.endpoint(), |claims| claims["jti"] = "jti-0".into());
    assert_ne!(token, again);
    refused(bring(&scene, &again).await, REPLAYED, "signed anew").await;
    scene.advance(Duration::from_millis(329_999));
    refused(bring(&scene, &token).await, REPLAYED, "the last moment").await;
    scene.advance(Duration::from_millis(1));
    refused(bring(&scene, &token).await, outcome(401, "unauthorized", "expired"), "over").await;
    assert_eq!(scene.service.arrivals().len(), 1);
}

#[tokio::test]
async fn the_same_id_of_another_issuer_is_another_token() {
    let second = Ehr::new("second");
    let scene = Scene::new(&Extra { lists: second.inline(""), ..Extra::default() }).await;
    let url = scene.endpoint();
    let mut claims = scene.claims(&url);
    assert_eq!(bring(&scene, &scene.key.sign(&claims, None).unwrap()).await.status(), 200);
    claims["iss"] = second.issuer().into();
    assert_eq!(bring(&scene, &second.key.sign(&claims, None).unwrap()).await.status(), 200);
}

#[tokio::test]
async fn of_many_that_bring_one_token_together_one_wins() {
    let tables = "[limits]\nmode = \"off\"\n".to_owned();
    let scene = Scene::new(&Extra { tables, ..Extra::default() }).await;
    let clients = [scene.http(), scene.http()];
    for _ in 0..4 {
        let before = scene.service.arrivals().len();
        let (url, token) = (scene.endpoint(), scene.token(&scene.endpoint()));
        let calls = (0..8_usize).map(|n| {
            let request = clients[n % 2].post(&url).bearer_auth(&token);
            request.header("content-type", "application/json").body(hook_body()).send()
        });
        let answers = join_all(calls).await;
        let mut won = 0;
        for answer in answers {
            let answer = answer.unwrap();
            if answer.status() == 200 {
                won += 1;
            } else {
                refused(answer, REPLAYED, "lost").await;
            }
        }
        assert_eq!(won, 1);
        assert_eq!(scene.service.arrivals().len() - before, 1);
    }
}

#[tokio::test]
async fn observing_lets_it_pass_and_says_so() {
    let scene = scene("replay = \"observe\"").await;
    let token = scene.token(&scene.endpoint());
    for number in 0..3 {
        let response = bring(&scene, &token).await;
        assert_eq!(response.status(), 200);
        let line = logged_once(&request_id(&response), "observed");
        let expected = if number == 0 { Value::Null } else { "replayed".into() };
        assert_eq!(line["observed"], expected, "{line}");
    }
    let metric = "hookgate_observed_total{way=\"hook\",reason=\"replayed\"}";
    assert_eq!(scene.sample(metric).await, 2);
}

#[tokio::test]
async fn the_same_request_may_come_again_and_no_other_with_its_token() {
    let scene = scene("replay = \"same-request\"").await;
    let (url, feedback) = (scene.endpoint(), scene.feedback());
    let token = scene.token(&url);
    for _ in 0..3 {
        assert_eq!(bring(&scene, &token).await.status(), 200);
    }
    assert_eq!(scene.service.arrivals().len(), 3, "it is the service that answers again");
    for (what, url, body) in [
        ("another body", &url, hook_body_of(OTHER_INSTANCE)),
        ("a blank more", &url, format!("{} ", hook_body())),
        ("another way", &feedback, hook_body()),
    ] {
        let response = scene.post_with(url, &token, body).await;
        refused(response, REPLAYED, what).await;
    }
    assert_eq!(bring(&scene, &token).await.status(), 200, "the first one still may");
    assert!(!hook_body().contains(OTHER_INSTANCE) && hook_body().contains(HOOK_INSTANCE));
}

/// What was refused before the token was spent leaves it good: the caller may put it right and try again
/// with it. What was looked at after that, and what the service did, does not.
#[tokio::test]
async fn what_spends_a_token() {
    let extra = Extra {
        tables: "[body]\nmax_size = \"1KiB\"\n".to_owned(),
        client: "fhir_servers = [\"https://fhir.example.org\"]".to_owned(),
        ..Extra::default()
    };
    let scene = Scene::new(&extra).await;
    let url = scene.endpoint();
    let named = hook_body().replacen('{', "{\"fhirServer\":\"https://evil.example\",", 1);
    let fine = || json(200, card_with_link("https://app.example/"));
    let table = [
        ("a body too large", " ".repeat(2000), 200, 413, 200),
        ("no JSON", "{".to_owned(), 200, 400, 401),
        ("another's FHIR server", named, 200, 403, 401),
        ("a service that fails", hook_body(), 500, 500, 401),
        ("a service that answers nonsense", hook_body(), 299, 502, 401),
        ("a success", hook_body(), 200, 200, 401),
    ];
    for (what, body, service, first, second) in table {
        scene
            .service
            .plays(move |_| if service == 200 { fine() } else { json(service, String::new()) });
        let token = scene.token(&url);
        assert_eq!(scene.post_with(&url, &token, body).await.status(), first, "{what}");
        scene.service.plays(move |_| fine());
        assert_eq!(bring(&scene, &token).await.status(), second, "{what}, again");
    }
    let token = scene.token(&url);
    let plain = scene.http().post(&url).bearer_auth(&token).header("content-type", "text/plain");
    assert_eq!(plain.body(hook_body()).send().await.unwrap().status(), 415);
    let half = format!(
        "POST {} HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\nzz\r\n",
        "/cds-services/patient-greeting",
        scene.authority(),
    );
    let broken = scene.raw(half).await;
    assert!(broken.starts_with("HTTP/1.1 400 "), "{broken}");
    assert_eq!(bring(&scene, &token).await.status(), 200, "neither type nor framing spent it");
}

#[tokio::test]
async fn on_disk_a_spent_token_stays_spent_over_a_restart_and_others_stay_good() {
    let mut scene = Scene::new(&Extra { disk: true, ..Extra::default() }).await;
    let (spent, kept) = (scene.token(&scene.endpoint()), scene.token(&scene.endpoint()));
    assert_eq!(bring(&scene, &spent).await.status(), 200);
    for _ in 0..2 {
        scene.stop().await;
        scene.advance(Duration::from_secs(5));
        scene.start().await;
        refused(bring(&scene, &spent).await, REPLAYED, "after the restart").await;
    }
    assert_eq!(bring(&scene, &kept).await.status(), 200, "issued before it, and not spent");
    assert_eq!(scene.service.arrivals().len(), 2);
}

/// Memory forgets at the end of the process: nobody knows then whether an older token was spent.
#[tokio::test]
async fn in_memory_a_restart_refuses_what_was_issued_before_it() {
    let mut scene = scene("").await;
    let (spent, kept) = (scene.token(&scene.endpoint()), scene.token(&scene.endpoint()));
    assert_eq!(bring(&scene, &spent).await.status(), 200);
    scene.stop().await;
    scene.advance(Duration::from_secs(1));
    scene.start().await;
    let forgotten = outcome(401, "unauthorized", "forgotten");
    for token in [&spent, &kept] {
        refused(bring(&scene, token).await, forgotten, "from before").await;
    }
    assert_eq!(bring(&scene, &scene.token(&scene.endpoint())).await.status(), 200);
    assert_eq!(scene.service.arrivals().len(), 2);
}

/// A clock that is ahead has its tokens say a later time than that of their use.
#[tokio::test]
async fn what_was_used_before_the_store_forgot_does_not_come_back_by_a_clock_that_is_ahead() {
    let mut scene = Scene::new(&Extra { disk: true, ..Extra::default() }).await;
    let ahead = |scene: &Scene, secs: u64| {
        scene.token_with(&scene.endpoint(), |claims| {
            claims["iat"] = (scene.clock.now().secs() + secs).into();
        })
    };
    let spent = ahead(&scene, 25);
    assert_eq!(bring(&scene, &spent).await.status(), 200, "a store that never was forgets nothing");
    scene.stop().await;
    std::fs::remove_file(scene.directory().join("state/state.redb")).unwrap();
    for _ in 0..2 {
        scene.advance(Duration::from_secs(1));
        // The second time it goes on from what it has become.
        scene.start().await;
        for (token, wait) in [(spent.clone(), 6), (ahead(&scene, 0), 30)] {
            let response = bring(&scene, &token).await;
            let told = response.headers()["retry-after"].to_str().unwrap().parse::<u64>().unwrap();
            assert!((wait - 1..=wait).contains(&told), "{told}: it must have been issued later");
            refused(response, outcome(503, "store", "use-unknown"), "issued since").await;
        }
        assert_eq!(bring(&scene, &ahead(&scene, 30)).await.status(), 200, "surely made since");
        scene.stop().await;
    }
    scene.advance(Duration::from_secs(29));
    scene.start().await;
    assert_eq!(bring(&scene, &ahead(&scene, 0)).await.status(), 200);
    refused(bring(&scene, &spent).await, outcome(503, "store", "use-unknown"), "as ever").await;
    assert_eq!(scene.service.arrivals().len(), 4);
}

#[tokio::test]
async fn observing_says_what_was_forgotten_and_remembers_it_from_then_on() {
    let mut scene = scene("replay = \"observe\"").await;
    let token = scene.token(&scene.endpoint());
    assert_eq!(bring(&scene, &token).await.status(), 200);
    scene.stop().await;
    scene.advance(Duration::from_secs(1));
    scene.start().await;
    for expected in ["forgotten", "replayed", "replayed"] {
        let response = bring(&scene, &token).await;
        assert_eq!(response.status(), 200);
        assert_eq!(logged_once(&request_id(&response), "observed")["observed"], expected);
    }
}

#[tokio::test]
async fn feedback_spends_its_token_too() {
    let scene = scene("").await;
    let (url, token) = (scene.feedback(), scene.token(&scene.endpoint()));
    let none = "{\"feedback\":[]}";
    assert_eq!(scene.post_with(&url, &token, none).await.status(), 200);
    refused(scene.post_with(&url, &token, none).await, REPLAYED, "again").await;
    refused(bring(&scene, &token).await, REPLAYED, "as a call").await;
}
