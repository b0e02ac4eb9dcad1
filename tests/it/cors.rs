//! EHRs that run in a browser.

use hookgate::demo::server::json;
use http::Method;
use reqwest::Response;

use crate::harness::{Extra, Scene, hook_body, lines_of, replayed, request_id};

const EHR: &str = "https://ehr.example.org";
const ANALYTICS: &str = "/cds-services/a/analytics/9b2b0d3e-0000-4000-8000-000000000000";

fn listed() -> String {
    format!("[cors]\norigins = [\"{EHR}\", \"https://second.example\"]\n")
}

async fn preflight(scene: &Scene, path: &str, origin: &str, method: &str) -> Response {
    let url = format!("{}{path}", scene.public_url);
    scene
        .http()
        .request(Method::OPTIONS, url)
        .header("origin", origin)
        .header("access-control-request-method", method)
        .header("access-control-request-headers", "authorization,content-type")
        .send()
        .await
        .unwrap()
}

fn all(response: &Response, name: &str) -> Vec<String> {
    let values = response.headers().get_all(name).iter();
    values.map(|value| value.to_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_preflight_passes_on_every_way_of_an_ehr_without_a_token() {
    for (tables, origin, allowed) in [
        (String::new(), EHR, "*"),
        (listed(), EHR, EHR),
        (listed(), "https://second.example", "https://second.example"),
    ] {
        let scene = Scene::new(&Extra { tables, ..Extra::default() }).await;
        for (path, method) in [
            ("/cds-services", "GET"),
            ("/cds-services/patient-greeting", "POST"),
            ("/cds-services/patient-greeting/feedback", "POST"),
            (ANALYTICS, "POST"),
        ] {
            let response = preflight(&scene, path, origin, method).await;
            assert_eq!(response.status(), 204, "{path}");
            assert_eq!(all(&response, "access-control-allow-origin"), [allowed], "{path}");
            let methods = all(&response, "access-control-allow-methods").join(",");
            assert!(methods.split(", ").any(|m| m == method), "{path}: {methods}");
            let names = all(&response, "access-control-allow-headers").join(",").to_lowercase();
            for name in ["authorization", "content-type"] {
                assert!(names.split(", ").any(|n| n == name), "{path}: {names}");
            }
            assert_eq!(all(&response, "access-control-max-age"), ["600"], "{path}");
            assert!(all(&response, "access-control-allow-credentials").is_empty(), "{path}");
            assert!(all(&response, "vary").join(",").contains("Access-Control-Request-Headers"));
            assert_eq!(all(&response, "vary").join(",").contains("Origin"), allowed != "*");
            let lines = lines_of(&request_id(&response));
            assert_eq!(lines.len(), 1, "{path}");
            assert!(lines[0].get("reason").is_none(), "{}", lines[0]);
            assert!(response.bytes().await.unwrap().is_empty());
        }
        assert!(scene.service.arrivals().is_empty());
    }
}

#[tokio::test]
async fn a_page_elsewhere_may_neither_send_nor_read() {
    let scene = Scene::new(&Extra { tables: listed(), ..Extra::default() }).await;
    for origin in [
        "https://evil.example",
        "https://ehr.example.org.evil.example",
        "null",
        "http://ehr.example.org",
    ] {
        let response = preflight(&scene, "/cds-services/patient-greeting", origin, "POST").await;
        for name in [
            "access-control-allow-origin",
            "access-control-allow-methods",
            "access-control-allow-headers",
        ] {
            assert!(all(&response, name).is_empty(), "{origin}: {name}");
        }
        let request =
            scene.http().post(scene.endpoint()).bearer_auth(scene.token(&scene.endpoint()));
        let request = request.header("origin", origin).header("content-type", "application/json");
        let response = request.body(hook_body()).send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert!(all(&response, "access-control-allow-origin").is_empty(), "{origin}");
        assert_eq!(all(&response, "vary"), ["Origin"], "{origin}");
    }
}

/// Everything that a browser EHR can be answered: the upstream speaks CORS too, and is not heard.
#[tokio::test]
async fn an_answer_names_the_origin_once_whatever_it_is() {
    let limits = "[limits]\nclient = { per_minute = 1, burst = 2 }\n";
    for (cors, allowed) in [(String::new(), "*"), (listed(), EHR)] {
        let tables = format!("{cors}{limits}");
        let scene = Scene::new(&Extra { tables, ..Extra::default() }).await;
        scene.service.plays(|_| replayed("cerner-patient-view-texthtml-absolute-link"));
        let send = async |token: String| {
            let request = scene.http().post(scene.endpoint()).header("origin", EHR);
            let request = request.header("content-type", "application/json").bearer_auth(token);
            request.body(hook_body()).send().await.unwrap()
        };
        let mut answers = vec![("success", 200, send(scene.token(&scene.endpoint())).await)];
        scene.service.plays(|_| replayed("cerner-500-stacktrace-html"));
        answers.push(("failure", 500, send(scene.token(&scene.endpoint())).await));
        answers.push(("limited", 429, send(scene.token(&scene.endpoint())).await));
        answers.push(("no token", 401, send("x".to_owned()).await));
        let discovery = scene.http().get(format!("{}/cds-services", scene.public_url));
        scene.service.plays(|_| replayed("sbx-discovery"));
        answers.push(("discovery", 200, discovery.header("origin", EHR).send().await.unwrap()));
        let wrong = scene.http().get(scene.endpoint()).header("origin", EHR);
        answers.push(("method", 405, wrong.send().await.unwrap()));
        for (what, status, response) in answers {
            assert_eq!(response.status(), status, "{what}");
            assert_eq!(all(&response, "access-control-allow-origin"), [allowed], "{what}");
            let exposed = all(&response, "access-control-expose-headers").join("|");
            assert_eq!(exposed, "ETag, Expires, Retry-After, X-Request-Id", "{what}");
            for name in ["credentials", "methods", "headers"] {
                let name = format!("access-control-allow-{name}");
                assert!(all(&response, &name).is_empty(), "{what}: {name}");
            }
        }
    }
}

#[tokio::test]
async fn what_is_not_for_ehrs_is_for_no_page() {
    let scene = Scene::new(&Extra::default()).await;
    for path in ["/nope", "/open/AAAA", "/.well-known/jwks.json"] {
        let request = scene.http().get(format!("{}{path}", scene.public_url));
        let response = request.header("origin", EHR).send().await.unwrap();
        assert!(all(&response, "access-control-allow-origin").is_empty(), "{path}");
    }
}

/// A browser sends them by itself: they are no use of anybody's allowance, and pass where it is used up.
#[tokio::test]
async fn preflights_cost_nothing() {
    let tables = "[limits]\naddress = { per_minute = 1, burst = 1 }\n\
                  failing_address = { per_minute = 1, burst = 1 }\n"
        .to_owned();
    let scene = Scene::new(&Extra { tables, ..Extra::default() }).await;
    for _ in 0..5 {
        let response = preflight(&scene, "/cds-services/a/feedback", EHR, "POST").await;
        assert_eq!(response.status(), 204);
    }
    scene.service.plays(|_| json(200, "{\"cards\":[]}".to_owned()));
    scene.cards().await;
    let response = scene.post(&scene.endpoint(), hook_body()).await;
    assert_eq!(response.status(), 429);
    let response = preflight(&scene, "/cds-services/a", EHR, "POST").await;
    assert_eq!(response.status(), 204);
}
