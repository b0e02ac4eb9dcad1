//! The drafts' analytics calls: one suggestion was taken, told by its id in the path.

use std::time::Duration;

use reqwest::Method;

use crate::harness::{
    Ehr, Extra, HOOK_INSTANCE, Line, NO_LIMITS, SERVICE, Scene, outcome, refused, refused_as,
    status,
};
use crate::port::free_port;

const LIFETIME: Duration = Duration::from_secs(24 * 3600);
const SLOT: Duration = Duration::from_secs(600);

fn unlimited() -> Extra {
    Extra { tables: NO_LIMITS.to_owned(), ..Extra::default() }
}

fn with_feedback(settings: &str) -> Extra {
    let lists = format!("[[service]]\nid = \"*\"\n[service.feedback]\n{settings}\n");
    Extra { lists, ..unlimited() }
}

async fn taking(extra: &Extra) -> Scene {
    let scene = Scene::new(extra).await;
    scene.answers_reports(|_| status(204));
    scene
}

/// A call without a token.
async fn bare(scene: &Scene, uuid: &str) -> reqwest::Response {
    scene.http().post(scene.analytics_url(uuid)).send().await.unwrap()
}

/// A signed one.
async fn signed(scene: &Scene, uuid: &str) -> reqwest::Response {
    scene.post(&scene.analytics_url(uuid), "{}").await
}

async fn taken(response: reqwest::Response) {
    assert_eq!(response.status(), 200);
    assert_eq!(response.text().await.unwrap(), "");
}

#[tokio::test]
async fn a_signed_call_is_delivered_with_the_services_own_id() {
    let scene = taking(&unlimited()).await;
    let ids = scene.ids_of(HOOK_INSTANCE).await;
    refused_as(bare(&scene, &ids.suggestions[1]).await, 401, "unauthorized").await;
    assert!(scene.reports().is_empty());
    taken(signed(&scene, &ids.suggestions[1]).await).await;
    let reports = scene.reports();
    assert_eq!(reports.len(), 1);
    let [report] = &reports[..] else { panic!() };
    assert_eq!(report.method, Method::POST);
    assert_eq!(report.target, format!("/cds-services/{SERVICE}/analytics/suggestion-2"));
    assert_eq!(report.body, "{}");
    assert_eq!(report.headers["x-hookgate-hook-instance"], HOOK_INSTANCE);
    assert_eq!(report.headers["x-hookgate-client"], "ehr");
    assert_eq!(report.headers["x-hookgate-issuer"], crate::harness::ISSUER);
    assert!(!report.headers.contains_key("authorization"));
}

#[tokio::test]
async fn where_the_service_says_so_the_id_alone_is_enough() {
    let scene = taking(&with_feedback("analytics = \"uuid\"")).await;
    let bodies = [
        (None, None),
        (Some("application/json"), Some("{}")),
        (None, Some("{}")),
        (Some("text/plain"), Some("")),
        (Some("application/x-www-form-urlencoded"), None),
    ];
    for (number, (content_type, body)) in bodies.into_iter().enumerate() {
        let ids = scene.ids_of(HOOK_INSTANCE).await;
        let mut call = scene.http().post(scene.analytics_url(&ids.suggestions[0]));
        if let Some(content_type) = content_type {
            call = call.header("content-type", content_type);
        }
        if let Some(body) = body {
            call = call.body(body);
        }
        taken(call.send().await.unwrap()).await;
        let reports = scene.reports();
        assert_eq!(reports.len(), number + 1);
        let report = &reports[number];
        assert_eq!(report.target, format!("/cds-services/{SERVICE}/analytics/suggestion-1"));
        assert_eq!(report.body, body.unwrap_or_default());
        assert_eq!(report.headers["x-hookgate-hook-instance"], HOOK_INSTANCE);
        // Whose id it was, which is not who called.
        assert_eq!(report.headers["x-hookgate-client"], "ehr");
        assert!(!report.headers.contains_key("x-hookgate-issuer"));
    }
}

#[tokio::test]
async fn a_token_that_is_shown_must_be_good_also_where_none_is_needed() {
    let other = Ehr::new("other");
    let lists = format!(
        "{}[[service]]\nid = \"*\"\n[service.feedback]\nanalytics = \"uuid\"\n",
        other.inline("")
    );
    let scene = taking(&Extra { lists, ..unlimited() }).await;
    let ids = scene.ids_of(HOOK_INSTANCE).await;
    let uuid = &ids.suggestions[0];
    let url = scene.analytics_url(uuid);
    for authorization in ["Bearer x", "Bearer ", "Basic dTpw", "", "bearer a.b.c"] {
        let call = scene.http().post(&url).header("authorization", authorization);
        refused_as(call.send().await.unwrap(), 401, "unauthorized").await;
    }
    let elsewhere = scene.token("https://elsewhere.example/");
    refused_as(scene.post_with(&url, &elsewhere, "{}").await, 401, "unauthorized").await;
    // A good token of somebody else is not better than none.
    let stranger = other.token(&scene, &url);
    refused_as(scene.post_with(&url, &stranger, "{}").await, 410, "id-gone").await;
    assert!(scene.reports().is_empty());
    taken(signed(&scene, uuid).await).await;
    taken(bare(&scene, uuid).await).await;
    assert_eq!(scene.reports().len(), 1);
}

#[tokio::test]
async fn a_repeat_is_absorbed_or_refused_and_never_delivered() {
    for disk in [false, true] {
        for (repeat, status) in [("absorb", 200), ("refuse", 410)] {
            let settings = format!("analytics = \"uuid\"\nrepeat = \"{repeat}\"");
            let mut scene = taking(&Extra { disk, ..with_feedback(&settings) }).await;
            let ids = scene.ids_of(HOOK_INSTANCE).await;
            taken(bare(&scene, &ids.suggestions[0]).await).await;
            if disk {
                scene.stop().await;
                scene.start().await;
            }
            let uuid = &ids.suggestions[0];
            for same in [uuid.clone(), uuid.to_uppercase()] {
                assert_eq!(bare(&scene, &same).await.status(), status, "{repeat}");
                assert_eq!(signed(&scene, &same).await.status(), status, "{repeat}");
            }
            assert_eq!(scene.reports().len(), 1);
            // Another suggestion of the same card is another matter.
            taken(bare(&scene, &ids.suggestions[1].to_uppercase()).await).await;
            assert_eq!(scene.reports().len(), 2);
            let expected = if repeat == "refuse" { 4 } else { 0 };
            assert_eq!(scene.refused("analytics", "repeated").await, expected);
        }
    }
}

#[tokio::test]
async fn the_same_id_is_the_same_delivery_however_it_is_spelled() {
    let scene = taking(&with_feedback("analytics = \"uuid\"")).await;
    let ids = scene.ids_of(HOOK_INSTANCE).await;
    let uuid = &ids.suggestions[0];
    let spellings = [uuid.clone(), uuid.to_uppercase(), format!("urn:uuid:{uuid}")];
    for spelling in spellings {
        taken(bare(&scene, &spelling).await).await;
        assert_eq!(scene.reports().len(), 1, "{spelling}");
    }
}

#[tokio::test]
async fn what_is_no_suggestion_of_this_service_is_gone() {
    for settings in ["analytics = \"uuid\"", "analytics = \"bearer\""] {
        let scene = taking(&with_feedback(settings)).await;
        let ids = scene.ids_of(HOOK_INSTANCE).await;
        let elsewhere = format!("{}/cds-services/other-service", scene.public_url);
        let elsewhere = scene.ids_at(&elsewhere, HOOK_INSTANCE).await;
        let mut last = ids.suggestions[0].clone();
        let digit = if last.ends_with('0') { "1" } else { "0" };
        last.replace_range(last.len() - 1.., digit);
        let rows = [
            (ids.card.as_str(), "id-no-such-index"),
            (elsewhere.suggestions[0].as_str(), "id-other-service"),
            (last.as_str(), "id-forged"),
            ("suggestion-1", "id-not-ours"),
            (HOOK_INSTANCE, "id-not-ours"),
            ("00000000-0000-8000-8000-000000000000", "id-not-ours"),
            // A key that is not held, and a time that has passed.
            ("f0000000-0000-8000-8000-000000000000", "id-expired"),
        ];
        for (uuid, reason) in rows {
            let before = scene.refused("analytics", reason).await;
            let response = if settings.contains("bearer") {
                signed(&scene, uuid).await
            } else {
                bare(&scene, uuid).await
            };
            refused_as(response, 410, "id-gone").await;
            assert_eq!(scene.refused("analytics", reason).await, before + 1, "{uuid}");
        }
        assert!(scene.reports().is_empty());
    }
}

/// Another replica may hold that key already.
#[tokio::test]
async fn a_suggestion_whose_key_is_not_held_is_to_be_told_again() {
    for settings in ["analytics = \"uuid\"", "analytics = \"bearer\""] {
        let scene = taking(&with_feedback(settings)).await;
        let ids = scene.ids_of(HOOK_INSTANCE).await;
        // Its first digit names its key.
        let uuid = format!("f{}", &ids.suggestions[0][1..]);
        let response = match settings.contains("bearer") {
            true => signed(&scene, &uuid).await,
            false => bare(&scene, &uuid).await,
        };
        let expected = outcome(503, "keys-unavailable", "id-unknown-key");
        refused(response, expected, settings).await;
        assert!(scene.reports().is_empty());
    }
}

#[tokio::test]
async fn another_clients_suggestion_is_gone() {
    let other = Ehr::new("other");
    let scene = taking(&Extra { lists: other.inline(""), ..unlimited() }).await;
    let ids = scene.ids_of(HOOK_INSTANCE).await;
    let url = scene.analytics_url(&ids.suggestions[0]);
    let response = scene.post_with(&url, &other.token(&scene, &url), "{}").await;
    refused_as(response, 410, "id-gone").await;
    assert_eq!(scene.refused("analytics", "id-other-client").await, 1);
    assert!(scene.reports().is_empty());
}

#[tokio::test]
async fn a_suggestion_expires() {
    let scene = taking(&with_feedback("analytics = \"uuid\"")).await;
    let ids = scene.ids_of(HOOK_INSTANCE).await;
    scene.advance(LIFETIME - Duration::from_millis(1));
    taken(bare(&scene, &ids.suggestions[0]).await).await;
    scene.advance(SLOT);
    for uuid in &ids.suggestions {
        refused_as(bare(&scene, uuid).await, 410, "id-gone").await;
    }
    assert_eq!(scene.refused("analytics", "id-expired").await, 2);
    assert_eq!(scene.reports().len(), 1);
}

#[tokio::test]
async fn a_delivery_is_remembered_to_the_end_of_its_ids_slot() {
    let scene = taking(&with_feedback("lifetime = \"5s\"\nrepeat = \"refuse\"")).await;
    let ids = scene.ids_of(HOOK_INSTANCE).await;
    taken(signed(&scene, &ids.suggestions[0]).await).await;
    for seconds in [1, 7, 200, 391] {
        scene.advance(Duration::from_secs(seconds));
        refused_as(signed(&scene, &ids.suggestions[0]).await, 410, "id-gone").await;
        assert_eq!(scene.reports().len(), 1, "{seconds} s later");
    }
    assert_eq!(scene.refused("analytics", "repeated").await, 4);
}

#[tokio::test]
async fn what_the_service_did_not_take_is_delivered_by_the_retry() {
    let port = free_port();
    let lists = format!(
        "[[upstream]]\nid = \"line\"\nurl = \"http://127.0.0.1:{port}\"\n[[service]]\nid = \"*\"\nupstream = \
         \"line\"\n[service.feedback]\nanalytics = \"uuid\"\nrepeat = \"refuse\"\n"
    );
    let scene = taking(&Extra { lists, ..unlimited() }).await;
    let line = Line::join(port, scene.service.address()).await;
    let ids = scene.ids_of(HOOK_INSTANCE).await;
    let uuid = &ids.suggestions[0];
    scene.answers_reports(|_| status(503));
    assert_eq!(bare(&scene, uuid).await.status(), 503);
    line.cut().await;
    refused_as(bare(&scene, uuid).await, 502, "upstream-unreachable").await;
    let _line = Line::join(port, scene.service.address()).await;
    scene.answers_reports(|_| status(200));
    taken(bare(&scene, uuid).await).await;
    assert_eq!(scene.reports().len(), 2);
    refused_as(bare(&scene, uuid).await, 410, "id-gone").await;
    assert_eq!(scene.reports().len(), 2);
}

#[tokio::test]
async fn an_id_that_passed_passes() {
    let lists = "[[service]]\nid = \"*\"\n[service.cards]\nids = \"pass\"\n".to_owned();
    let scene = taking(&Extra { lists, ..unlimited() }).await;
    for (number, (written, read)) in
        [("suggestion-1", "suggestion-1"), ("suggestion-1", "suggestion-1"), ("a%3Ab%7e", "a:b~")]
            .into_iter()
            .enumerate()
    {
        let response = signed(&scene, written).await;
        assert_eq!(response.status(), 204, "{}", response.text().await.unwrap());
        let reports = scene.reports();
        assert_eq!(reports.len(), number + 1);
        let report = &reports[number];
        assert_eq!(report.target, format!("/cds-services/{SERVICE}/analytics/{read}"));
        assert!(!report.headers.contains_key("x-hookgate-hook-instance"));
        assert_eq!(report.headers["x-hookgate-client"], "ehr");
    }
    refused_as(bare(&scene, "suggestion-1").await, 401, "unauthorized").await;
    assert_eq!(scene.reports().len(), 3);
}

#[tokio::test]
async fn nothing_but_post_is_taken() {
    let scene = taking(&with_feedback("analytics = \"uuid\"")).await;
    let ids = scene.ids_of(HOOK_INSTANCE).await;
    let url = scene.analytics_url(&ids.suggestions[0]);
    for method in [Method::GET, Method::HEAD, Method::PUT, Method::DELETE] {
        let response = scene.http().request(method.clone(), &url).send().await.unwrap();
        assert_eq!(response.status(), 405, "{method}");
        assert_eq!(response.headers()["allow"], "POST, OPTIONS");
    }
    assert!(scene.reports().is_empty());
}
