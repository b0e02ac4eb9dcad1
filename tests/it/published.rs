//! What published services answered and published clients sent, through the whole gateway.
//!
//! What is expected is written down as text: the recorded bytes with a few places replaced.

use http::{HeaderMap, StatusCode};
use serde_json::Value;

use crate::harness::{
    Extra, Scene, hook_body, logged_once, outcome, published_request, published_response, refused,
    replayed, request_id,
};

const CERNER: &str = "cerner-patient-view-texthtml-absolute-link";
const PAMA: &str = "sbx-pama-smart-link-appcontext-systemactions";
const PRICE: &str = "sbx-price-check-suggestion";
const MARKDOWN: &str = "berther-patient-education-markdown-links";
const STACK_TRACE: &str = "cerner-500-stacktrace-html";

async fn through_the_gateway(scene: &Scene, name: &'static str) -> (StatusCode, HeaderMap, String) {
    scene.service.plays(move |_| replayed(name));
    let response = scene.post(&scene.endpoint(), hook_body()).await;
    (response.status(), response.headers().clone(), response.text().await.unwrap())
}

fn names(headers: &HeaderMap) -> Vec<&str> {
    let mut names: Vec<&str> = headers.keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    names
}

const FIELDS: [&str; 7] = [
    "access-control-allow-origin",
    "access-control-expose-headers",
    "content-length",
    "content-type",
    "date",
    "x-content-type-options",
    "x-request-id",
];

#[tokio::test]
async fn an_absolute_link_is_sealed_and_says_when_it_ends_and_html_becomes_json() {
    let scene = Scene::new(&Extra::default()).await;
    let (status, headers, body) = through_the_gateway(&scene, CERNER).await;
    assert_eq!(status, 200);
    let answer: Value = serde_json::from_str(&body).unwrap();
    let link = answer["cards"][0]["links"][0]["url"].as_str().unwrap();
    assert!(link.starts_with(&format!("{}/open/", scene.public_url)), "{link}");
    assert!(link.len() < 2000);
    let extension = &answer["cards"][0]["extension"]["org.hookgate"];
    let told = extension["expiresAt"].as_str().unwrap();
    let extension = format!(r#","extension":{{"org.hookgate":{{"expiresAt":"{told}","uses":1}}}}"#);
    let published = published_response(CERNER);
    let expected = published
        .replacen("https://cds-hooks.org", link, 1)
        .replacen(r#""type": "absolute""#, &format!(r#""type": "absolute"{extension}"#), 1)
        .replacen("\n      ]", &format!("\n      ]{extension}"), 1);
    assert_ne!(expected, published);
    assert_eq!(body, expected);

    assert_eq!(told, "2026-11-23T19:00:00Z", "an hour is the default");
    assert_eq!(headers["expires"], "Mon, 23 Nov 2026 19:00:00 GMT");
    assert_eq!(headers["content-type"], "application/json");
    let mut expected = FIELDS.to_vec();
    expected.push("expires");
    expected.sort_unstable();
    assert_eq!(names(&headers), expected, "nothing of Express, of its CORS and of its ETag");
}

#[tokio::test]
async fn a_smart_link_an_app_context_and_system_actions_stay_and_the_id_is_replaced() {
    let scene = Scene::new(&Extra::default()).await;
    let (status, headers, body) = through_the_gateway(&scene, PAMA).await;
    assert_eq!(status, 200);
    let answer: Value = serde_json::from_str(&body).unwrap();
    let id = answer["cards"][0]["uuid"].as_str().unwrap();
    let published = published_response(PAMA);
    assert_eq!(body, published.replacen("7cdad318-9995-40b9-b5c7-e0caf1656146", id, 1));
    assert_eq!(uuid::Uuid::parse_str(id).unwrap().get_version_num(), 8);
    assert_eq!(headers["content-type"], "application/json; charset=utf-8");
    assert_eq!(names(&headers), FIELDS, "no link of ours, hence no Expires");
}

#[tokio::test]
async fn ids_of_card_and_suggestion_are_replaced_and_the_actions_stay() {
    let scene = Scene::new(&Extra::default()).await;
    let (status, _, body) = through_the_gateway(&scene, PRICE).await;
    assert_eq!(status, 200);
    let answer: Value = serde_json::from_str(&body).unwrap();
    let card = answer["cards"][0]["uuid"].as_str().unwrap();
    let suggestion = answer["cards"][0]["suggestions"][0]["uuid"].as_str().unwrap();
    assert_ne!(card, suggestion);
    let expected = published_response(PRICE)
        .replacen("aecb8556-d78c-405f-a48c-f1fcf79cc0a6", card, 1)
        .replacen("bd37e682-4110-44be-b4b7-cf28d7ea258f", suggestion, 1);
    assert_eq!(body, expected);
}

#[tokio::test]
async fn markdown_links_stay_to_the_byte_and_are_counted() {
    let scene = Scene::new(&Extra::default()).await;
    let (status, _, body) = through_the_gateway(&scene, MARKDOWN).await;
    assert_eq!(status, 200);
    assert_eq!(body, published_response(MARKDOWN));
    assert_eq!(scene.sample("hookgate_cards_met_total{what=\"detail-links\"}").await, 4);
    assert_eq!(scene.sample("hookgate_cards_met_total{what=\"source-urls\"}").await, 1);
    assert_eq!(scene.sample("hookgate_cards_met_total{what=\"links-sealed\"}").await, 0);
}

#[tokio::test]
async fn markdown_links_and_source_urls_go_where_the_operator_says_so() {
    let lists =
        "[[service]]\nid = \"*\"\ncards = { detail_links = \"strip\", source_url = \"strip\" }\n";
    let scene = Scene::new(&Extra { lists: lists.to_owned(), ..Extra::default() }).await;
    let (status, _, body) = through_the_gateway(&scene, MARKDOWN).await;
    assert_eq!(status, 200);
    for (start, end) in [("](", ")"), ("http", "\"")] {
        assert!(!body.contains(start), "{start}…{end} in {body}");
    }
    assert!(body.contains("Confusion, Memory Loss, and Altered Alertness"), "{body}");
}

#[tokio::test]
async fn a_stack_trace_is_masked() {
    let scene = Scene::new(&Extra::default()).await;
    scene.service.plays(|_| replayed(STACK_TRACE));
    let response = scene.post(&scene.endpoint(), hook_body()).await;
    assert_eq!(names(response.headers()).len(), FIELDS.len() + 1, "{:?}", response.headers());
    let expected = outcome(500, "upstream-status", "upstream-status");
    refused(response, expected, "stack trace").await;
}

#[tokio::test]
async fn a_stack_trace_is_masked_also_where_errors_may_pass() {
    let upstream = "upstream_errors = \"pass\"".to_owned();
    let scene = Scene::new(&Extra { upstream, ..Extra::default() }).await;
    let (status, headers, body) = through_the_gateway(&scene, STACK_TRACE).await;
    assert_eq!(status, 500);
    assert_eq!(headers["content-type"], "application/json");
    assert!(body.contains("upstream-status") && !body.contains("srv"), "{body}");
}

#[tokio::test]
async fn every_published_request_arrives_byte_for_byte() {
    let scene = Scene::new(&Extra::default()).await;
    let certificate = reqwest::Certificate::from_der(&scene.certificate).unwrap();
    let client = || reqwest::Client::builder().tls_certs_only([certificate.clone()]);
    let both = [
        (client().http1_only().build().unwrap(), http::Version::HTTP_11),
        (client().build().unwrap(), http::Version::HTTP_2),
    ];
    let mut longest = 0;
    for name in [
        "sandbox-patient-view-0.4k.json",
        "sandbox-patient-view-13k.json",
        "sandbox-patient-view-304k.json.gz",
        "sandbox-patient-view-1863k.json.gz",
    ] {
        let body = published_request(name);
        longest = longest.max(body.len());
        for (client, version) in &both {
            let request = client
                .post(scene.endpoint())
                .bearer_auth(scene.token(&scene.endpoint()))
                .header("content-type", "application/json; charset=utf-8")
                .body(body.clone());
            let response = request.send().await.unwrap();
            assert_eq!(response.version(), *version);
            assert_eq!(response.status(), 200, "{name}");
            let arrivals = scene.service.arrivals();
            let arrived = arrivals.last().unwrap();
            assert!(arrived.body == body, "{name} over {version:?} was changed");
            assert_eq!(arrived.headers["content-length"], body.len().to_string());
            assert_eq!(arrived.headers["content-type"], "application/json; charset=utf-8");
            let instance: Value = serde_json::from_str(&body).unwrap();
            assert_eq!(
                arrived.headers["x-hookgate-hook-instance"],
                instance["hookInstance"].as_str().unwrap()
            );
        }
    }
    assert!(longest > 1_800_000);
    assert_eq!(scene.service.arrivals().len(), 8);
}

/// The recorded clients report ids that their service gave. Behind the gateway they were given others.
#[tokio::test]
async fn every_published_feedback_arrives_with_the_ids_that_its_service_gave() {
    let scene = Scene::new(&Extra::default()).await;
    let accepted = "4232dd75-4728-44c8-9fe5-0fb09e4143af";
    for (name, card, suggestion) in [
        ("sandbox-feedback-overridden.json", "0e792218-09b8-4719-8c61-0629550a7292", None),
        (
            "sandbox2024-feedback-accepted.json",
            "eb84b5de-bb45-4d8b-bef1-29ded3ba414c",
            Some(accepted),
        ),
    ] {
        let published = published_request(name);
        let unknown = scene.post(&scene.feedback(), published.clone()).await;
        let expected = outcome(410, "id-gone", "no-id-known");
        refused(unknown, expected, name).await;

        let cards = published_response(PRICE)
            .replace("aecb8556-d78c-405f-a48c-f1fcf79cc0a6", card)
            .replace("bd37e682-4110-44be-b4b7-cf28d7ea258f", accepted);
        scene.service.plays(move |_| hookgate::demo::server::json(200, cards.clone()));
        let answer = scene.cards().await;
        let given = &answer["cards"][0];
        let mut body = published.replace(card, given["uuid"].as_str().unwrap());
        if let Some(suggestion) = suggestion {
            body = body.replace(suggestion, given["suggestions"][0]["uuid"].as_str().unwrap());
        }
        assert_ne!(body, published);
        let response = scene.post(&scene.feedback(), body).await;
        assert_eq!(response.status(), 200, "{name}");
        logged_once(&request_id(&response), name);
        let arrivals = scene.service.arrivals();
        let arrived = arrivals.last().unwrap();
        assert_eq!(arrived.target, "/cds-services/patient-greeting/feedback");
        assert_eq!(arrived.body, published, "{name}");
    }
}
