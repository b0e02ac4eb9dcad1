//! A hook call, from the EHR to the service and back.

use serde_json::Value;

use crate::harness::{
    Extra, HOOK_INSTANCE, SERVICE, Scene, hook_body, logged_once, outcome, refused, request_id,
};

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

/// What `aud` may be: by client, by way, and below a public URL with a path of its own.
#[tokio::test]
async fn the_audience_is_what_the_client_was_allowed_to_send() {
    let uuid = "9b2b0d3e-0000-4000-8000-000000000000";
    // rule, audience below the public URL (or, with a scheme, itself), accepted for hook and feedback
    let table = [
        ("", "/cds-services/patient-greeting", true, true),
        ("", "/cds-services/patient-greeting/feedback", false, true),
        ("", "/cds-services/patient-greeting/", false, false),
        ("", "/cds-services/other", false, false),
        ("", "/cds-services", false, false),
        ("", "", false, false),
        ("", "https://localhost/cds-services/patient-greeting", false, false),
        ("audience = [\"endpoint\"]", "/cds-services/patient-greeting", true, false),
        ("audience = [\"endpoint\"]", "/cds-services/patient-greeting/feedback", false, true),
        ("audience = [\"base\"]", "/cds-services", true, true),
        ("audience = [\"base\"]", "/cds-services/patient-greeting", false, false),
        ("audience = [\"prefix\"]", "/cds-services", true, true),
        ("audience = [\"prefix\"]", "", true, true),
        ("audience = [\"prefix\"]", "/cds-services/patient-greeting", true, true),
        ("audience = [\"prefix\"]", "/cds-services/patient", false, false),
        ("audience = [\"prefix\"]", "/cds-services/patient-greeting/feedback", false, true),
        ("audience = [\"sand_man\"]", "urn:sand_man", false, false),
        ("audience = [\"urn:sand_man\"]", "urn:sand_man", true, true),
        ("audience = [\"urn:sand_man\"]", "/cds-services/patient-greeting", false, false),
    ];
    for path in ["", "/", "/a/b/"] {
        for rules in table.chunk_by(|a, b| a.0 == b.0) {
            let client = rules[0].0.to_owned();
            let tables = "[limits]\nmode = \"off\"\n".to_owned();
            let scene = Scene::new(&Extra { client, path, tables, ..Extra::default() }).await;
            for (rule, audience, hook, feedback) in rules {
                let whole = format!("{}{audience}", scene.public_url);
                let audience = if audience.contains(':') { *audience } else { &whole };
                let none = "{\"feedback\":[]}".to_owned();
                for (url, body, accepted) in
                    [(scene.endpoint(), hook_body(), *hook), (scene.feedback(), none, *feedback)]
                {
                    let what = format!("{rule} {audience} for {url}");
                    let response = scene.post_with(&url, &scene.token(audience), body).await;
                    if accepted {
                        assert_eq!(response.status(), 200, "{what}");
                    } else {
                        refused(response, outcome(401, "unauthorized", "audience"), &what).await;
                    }
                }
            }
        }
    }
    let scene = Scene::new(&Extra { path: "/gate/", ..Extra::default() }).await;
    let several = scene.token_with(&scene.endpoint(), |claims| {
        claims["aud"] = serde_json::json!(["https://else.example", claims["aud"]]);
    });
    let response = scene.post_with(&scene.endpoint(), &several, hook_body()).await;
    assert_eq!(response.status(), 200);
    let answer: Value = response.json().await.unwrap();
    let link = answer["cards"][0]["links"][0]["url"].as_str().unwrap();
    assert!(link.starts_with(&format!("https://{}/gate/open/", scene.authority())), "{link}");
    assert_eq!(scene.service.arrivals()[0].target, "/cds-services/patient-greeting");
    let analytics = format!("{}/analytics/{uuid}", scene.endpoint());
    let response = scene.post_with(&analytics, &scene.token(&scene.endpoint()), "{}").await;
    assert_eq!(response.status(), 410, "accepted by the service's URL, and no id of ours");
    let outside = format!("https://{}/cds-services/{SERVICE}", scene.authority());
    let response = scene.post(&outside, hook_body()).await;
    assert_eq!(response.status(), 404, "the public URL has a path");
}

#[tokio::test]
async fn a_request_may_name_only_the_clients_own_fhir_servers() {
    let servers = "fhir_servers = [\"https://fhir.example.org/r4\"]\n";
    let own = "https://fhir.example.org/r4";
    let other = "https://evil.example/r4";
    let body = |server: &str, link: &str| {
        let mut body: Value = serde_json::from_str(&hook_body()).unwrap();
        body["fhirServer"] = server.into();
        body["prefetch"] = serde_json::json!({"x": {
            "resourceType": "Bundle", "link": [{"relation": "next", "url": link}],
        }});
        body.to_string()
    };
    let table = [
        (own, "https://fhir.example.org/r4/Patient?page=2", None),
        (own, "Patient?page=2", None),
        ("https://fhir.example.org/r4/", "Patient", None),
        (other, "Patient", Some("fhir-server")),
        ("https://fhir.example.org/r4.evil.example", "Patient", Some("fhir-server")),
        ("https://fhir.example.org@evil.example/r4", "Patient", Some("fhir-server")),
        (own, "https://evil.example/Patient?page=2", Some("bundle-link")),
    ];
    for mode in ["enforce", "observe", "off"] {
        let client = format!("{servers}fhir_server_check = \"{mode}\"");
        let scene = Scene::new(&Extra { client, ..Extra::default() }).await;
        for (server, link, finding) in table {
            let what = format!("{mode}: {server} {link}");
            let before = scene.service.arrivals().len();
            let response = scene.post(&scene.endpoint(), body(server, link)).await;
            match finding {
                Some(reason) if mode == "enforce" => {
                    refused(response, outcome(403, "forbidden", reason), &what).await;
                    assert_eq!(scene.service.arrivals().len(), before, "{what}");
                }
                _ => {
                    assert_eq!(response.status(), 200, "{what}");
                    let line = logged_once(&request_id(&response), &what);
                    let observed = finding.filter(|_| mode == "observe");
                    assert_eq!(line["observed"].as_str(), observed, "{what}: {line}");
                    assert!(!line.to_string().contains("evil"), "{line}");
                }
            }
        }
        let metric = "hookgate_observed_total{way=\"hook\",reason=\"fhir-server\"}";
        assert_eq!(scene.sample(metric).await, if mode == "observe" { 3 } else { 0 }, "{mode}");
    }
}
