//! Which services there are, as EHRs learn of it.

use bytes::Bytes;
use hookgate::demo::server::{answer, json};
use http::{Method, StatusCode};
use http_body_util::Full;
use reqwest::Response;
use serde_json::Value;

use crate::harness::{
    Arrival, Extra, Scene, Service, lines_of, outcome, published_response, refused, replayed,
    request_id,
};

const TAG: &str = "W/\"2e4-RR1xwSuw/r5cdetvpauAPWjvfEY\"";

async fn discover(scene: &Scene, fields: &[(&str, &str)]) -> Response {
    let mut request = scene.http().get(format!("{}/cds-services", scene.public_url));
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}

/// A service that answers conditions as Express does.
fn like_express(arrival: &Arrival) -> http::Response<Full<Bytes>> {
    let mut recorded = replayed("sbx-discovery");
    if arrival.headers.get("if-none-match").is_some_and(|tag| tag == TAG) {
        *recorded.status_mut() = StatusCode::NOT_MODIFIED;
        *recorded.body_mut() = Full::default();
        recorded.headers_mut().remove("content-type");
    }
    recorded
}

#[tokio::test]
async fn passes_untouched_with_its_tag_and_costs_no_token() {
    let scene = Scene::new(&Extra::default()).await;
    scene.service.plays(like_express);
    let response = discover(&scene, &[]).await;
    assert_eq!(response.status(), 200);
    assert_eq!(response.headers()["etag"], TAG);
    assert_eq!(response.headers()["content-type"], "application/json; charset=utf-8");
    assert!(!response.headers().contains_key("x-powered-by"));
    assert_eq!(response.text().await.unwrap(), published_response("sbx-discovery"));
    let arrivals = scene.service.arrivals();
    assert_eq!(
        (arrivals[0].method.as_str(), arrivals[0].target.as_str()),
        ("GET", "/cds-services")
    );
    assert!(arrivals[0].body.is_empty());
    assert!(!arrivals[0].headers.contains_key("x-hookgate-client"));
}

#[tokio::test]
async fn what_has_not_changed_is_not_sent_again() {
    let scene = Scene::new(&Extra::default()).await;
    scene.service.plays(like_express);
    let response = discover(&scene, &[("if-none-match", TAG)]).await;
    assert_eq!(response.status(), 304);
    assert_eq!(response.headers()["etag"], TAG);
    assert_eq!(response.headers()["access-control-allow-origin"], "*");
    let lines = lines_of(&request_id(&response));
    assert!(response.bytes().await.unwrap().is_empty());
    assert_eq!(lines.len(), 1);
    assert!(lines[0].get("reason").is_none(), "304 is no refusal: {}", lines[0]);

    let changed = discover(&scene, &[("if-none-match", "\"old\"")]).await;
    assert_eq!(changed.status(), 200);
    assert_eq!(changed.text().await.unwrap(), published_response("sbx-discovery"));
}

#[tokio::test]
async fn head_has_the_fields_and_no_body() {
    let scene = Scene::new(&Extra::default()).await;
    scene.service.plays(like_express);
    let url = format!("{}/cds-services", scene.public_url);
    let head = scene.http().request(Method::HEAD, url).send().await.unwrap();
    assert_eq!(head.status(), 200);
    assert_eq!(head.headers()["etag"], TAG);
    assert_eq!(head.headers()["content-length"], "740");
    assert!(head.bytes().await.unwrap().is_empty());
}

#[tokio::test]
async fn lists_only_what_is_served_here_each_entry_to_the_byte() {
    let lists =
        "[[service]]\nid = \"patient-greeting\"\n[[service]]\nid = \"pama-imaging\"\n".to_owned();
    let scene = Scene::new(&Extra { lists, ..Extra::default() }).await;
    scene.service.plays(like_express);
    let response = discover(&scene, &[]).await;
    assert_eq!(response.status(), 200);
    for gone in ["etag", "last-modified"] {
        assert!(!response.headers().contains_key(gone), "{gone}: it is another document now");
    }
    let published = published_response("sbx-discovery");
    let entries: Vec<&str> = published
        .split("\n    {")
        .map(|entry| entry.split_inclusive("\n    }").next().unwrap())
        .collect();
    let expected = format!("{{\"services\":[{{{},{{{}]}}", entries[2], entries[3]);
    assert_eq!(response.text().await.unwrap(), expected);
}

#[tokio::test]
async fn several_upstreams_are_one_list_and_no_condition_hides_one_of_them() {
    let second = Service::start(|_| {
        json(
            200,
            r#"{"services":[{"id":"other","hook":"x"},{"id":"patient-greeting","hook":"shadow"}]}"#
                .to_owned(),
        )
    })
    .await;
    let lists = format!(
        "[[upstream]]\nid = \"second\"\nurl = \"{}\"\n\
         [[service]]\nid = \"other\"\nupstream = \"second\"\n\
         [[service]]\nid = \"patient-greeting\"\nupstream = \"legacy\"\n",
        second.url(),
    );
    let scene = Scene::new(&Extra { lists, ..Extra::default() }).await;
    scene.service.plays(like_express);
    for fields in [vec![], vec![("if-none-match", TAG)]] {
        let response = discover(&scene, &fields).await;
        assert_eq!(response.status(), 200, "{fields:?}");
        assert!(!response.headers().contains_key("etag"));
        let list: Value = response.json().await.unwrap();
        let services = list["services"].as_array().unwrap();
        let ids: Vec<_> = services
            .iter()
            .map(|s| (s["id"].as_str().unwrap(), s["hook"].as_str().unwrap()))
            .collect();
        assert_eq!(ids, [("patient-greeting", "patient-view"), ("other", "x")], "{list}");
    }
}

#[tokio::test]
async fn what_is_no_list_is_not_passed_on() {
    let scene = Scene::new(&Extra::default()).await;
    for (body, reason) in [
        ("<html>", "discovery-unreadable"),
        ("{}", "discovery-unreadable"),
        ("[]", "discovery-unreadable"),
        ("{\"services\":[{}]}", "discovery-unreadable"),
        ("{\"services\":7}", "discovery-unreadable"),
    ] {
        scene.service.plays(move |_| json(200, body.to_owned()));
        let response = discover(&scene, &[]).await;
        let expected = outcome(502, "upstream-unreadable", reason);
        refused(response, expected, body).await;
    }
}

#[tokio::test]
async fn html_labels_do_not_pass() {
    let scene = Scene::new(&Extra::default()).await;
    scene.service.plays(|_| answer(200, "text/html", "{\"services\":[]}".to_owned()));
    let response = discover(&scene, &[]).await;
    assert_eq!(response.headers()["content-type"], "application/json");
    assert_eq!(response.text().await.unwrap(), "{\"services\":[]}");
}

#[tokio::test]
async fn may_ask_for_a_token() {
    let tables = "[discovery]\nmode = \"authenticated\"\n".to_owned();
    let scene = Scene::new(&Extra { tables, ..Extra::default() }).await;
    scene.service.plays(like_express);
    assert_eq!(discover(&scene, &[]).await.status(), 401);
    let url = format!("{}/cds-services", scene.public_url);
    for (audience, status) in [(&url, 200), (&scene.endpoint(), 401)] {
        let bearer = format!("Bearer {}", scene.token(audience));
        let response = discover(&scene, &[("authorization", &bearer)]).await;
        assert_eq!(response.status(), status, "{audience}");
    }
    let arrivals = scene.service.arrivals();
    assert_eq!(arrivals.len(), 1);
    assert_eq!(arrivals[0].headers["x-hookgate-client"], "ehr");
}

#[tokio::test]
async fn is_found_where_the_upstream_has_it() {
    let upstream =
        "discovery_path = \"/cds/cds-discovery\"\nservice_path = \"/cds/{id}?v=1\"".to_owned();
    let scene = Scene::new(&Extra { upstream, ..Extra::default() }).await;
    scene.service.plays(like_express);
    assert_eq!(discover(&scene, &[]).await.status(), 200);
    scene.service.plays(|_| json(200, "{\"cards\":[]}".to_owned()));
    scene.cards().await;
    let targets: Vec<_> = scene.service.arrivals().into_iter().map(|a| a.target).collect();
    assert_eq!(targets, ["/cds/cds-discovery", "/cds/patient-greeting?v=1"]);
}
