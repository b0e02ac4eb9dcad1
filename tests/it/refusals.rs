//! Every way to be refused, as it is met from outside: status, code, form, fields, and one line in the log.

use std::convert::Infallible;
use std::pin::pin;

use bytes::Bytes;
use http::Method;
use http_body::Frame;
use http_body_util::StreamBody;
use reqwest::{Body, Response};
use serde_json::Value;
use tokio::net::TcpListener;

use crate::harness::{
    Extra, ISSUER, Scene, hook_body, lines_of, outcome, page, problem, refused, request_id,
};

async fn send(scene: &Scene, method: Method, path: &str, accept: &str) -> Response {
    let url = format!("{}{path}", scene.public_url);
    scene.http().request(method, url).header("accept", accept).send().await.unwrap()
}

#[tokio::test]
async fn what_is_not_a_way_or_not_its_method() {
    let scene = Scene::new(&Extra::default()).await;
    let (html, any) = ("text/html,application/xhtml+xml", "*/*");
    let no_route = problem(404, "no-route", "no-route");
    let token = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    for (method, path, accept, expected, allow) in [
        (Method::GET, "/".to_owned(), html, page(404, "no-route", "no-route"), ""),
        (Method::GET, "/nope".to_owned(), any, no_route, ""),
        (Method::POST, "/cds-services/".to_owned(), any, no_route, ""),
        (Method::POST, "/cds-services/a/b".to_owned(), any, no_route, ""),
        (Method::POST, "/cds-services/a/feedback/b".to_owned(), any, no_route, ""),
        (Method::GET, "/.well-known/openid-configuration".to_owned(), any, no_route, ""),
        (Method::GET, "/livez".to_owned(), any, no_route, ""),
        (Method::GET, "/metrics".to_owned(), any, no_route, ""),
        (Method::POST, "/session/token".to_owned(), any, no_route, ""),
        (
            Method::POST,
            "/cds-services".to_owned(),
            any,
            outcome(405, "method", "method"),
            "GET, HEAD, OPTIONS",
        ),
        (
            Method::GET,
            "/cds-services/a".to_owned(),
            any,
            outcome(405, "method", "method"),
            "POST, OPTIONS",
        ),
        (
            Method::PUT,
            "/cds-services/a/feedback".to_owned(),
            any,
            outcome(405, "method", "method"),
            "POST, OPTIONS",
        ),
        (
            Method::DELETE,
            "/cds-services/a/analytics/b".to_owned(),
            any,
            outcome(405, "method", "method"),
            "POST, OPTIONS",
        ),
        (
            Method::POST,
            "/.well-known/jwks.json".to_owned(),
            any,
            problem(405, "method", "method"),
            "GET, HEAD, OPTIONS",
        ),
        (
            Method::PUT,
            format!("/open/{token}"),
            any,
            problem(405, "method", "method"),
            "GET, HEAD, POST, OPTIONS",
        ),
        (
            Method::PUT,
            format!("/open/{token}"),
            html,
            page(405, "method", "method"),
            "GET, HEAD, POST, OPTIONS",
        ),
        (
            Method::POST,
            format!("/open/{token}"),
            any,
            problem(410, "link-gone", "link-malformed"),
            "",
        ),
        (
            Method::POST,
            format!("/open/{token}"),
            html,
            page(410, "link-gone", "link-malformed"),
            "",
        ),
    ] {
        let response = send(&scene, method.clone(), &path, accept).await;
        let allowed = response.headers().get("allow").map_or("", |v| v.to_str().unwrap());
        assert_eq!(allowed, allow, "{method} {path}");
        refused(response, expected, &format!("{method} {path} {accept}")).await;
    }
    assert!(scene.service.arrivals().is_empty());
}

#[tokio::test]
async fn services_that_are_not_served() {
    let lists = "[[service]]\nid = \"other\"\n".to_owned();
    let scene = Scene::new(&Extra { lists, ..Extra::default() }).await;
    let analytics = format!("{}/analytics/9b2b0d3e-0000-4000-8000-000000000000", scene.endpoint());
    for url in [scene.endpoint(), scene.feedback(), analytics] {
        let response = scene.post(&url, hook_body()).await;
        refused(response, outcome(404, "no-route", "no-service"), &url).await;
    }
    assert!(scene.service.arrivals().is_empty());
}

#[tokio::test]
async fn a_client_that_may_not_call_this_service() {
    let client = "services = [\"other\"]".to_owned();
    let scene = Scene::new(&Extra { client, ..Extra::default() }).await;
    for url in [scene.endpoint(), scene.feedback()] {
        let response = scene.post(&url, hook_body()).await;
        refused(response, outcome(403, "forbidden", "service-forbidden"), &url).await;
    }
    assert!(scene.service.arrivals().is_empty());
}

/// A body that does not say how long it is going to be.
fn in_pieces(count: usize, length: usize) -> Body {
    let piece = move |_| Ok::<_, Infallible>(Frame::data(Bytes::from(vec![b' '; length])));
    Body::wrap(StreamBody::new(futures_util::stream::iter((0..count).map(piece))))
}

#[tokio::test]
async fn bodies_that_are_not_taken() {
    let tables = "[body]\nmax_size = \"4KiB\"\nmax_held = \"2KiB\"\n".to_owned();
    let scene = Scene::new(&Extra { tables, ..Extra::default() }).await;
    let declared = outcome(413, "body-too-large", "body-too-large");
    let malformed = |reason| outcome(400, "malformed", reason);
    let hook = |change: fn(&mut Value)| {
        let mut body: Value = serde_json::from_str(&hook_body()).unwrap();
        change(&mut body);
        Body::from(body.to_string())
    };
    let deep = format!("{{\"a\":{}", "[".repeat(1500));
    for (what, body, expected) in [
        ("declared too large", Body::from(vec![b' '; 4097]), declared),
        (
            "more than the ceiling",
            Body::from(vec![b' '; 3000]),
            outcome(503, "overloaded", "bytes-held"),
        ),
        ("too many at once", in_pieces(3, 900), outcome(503, "overloaded", "bytes-held")),
        ("nothing", Body::from(""), malformed("json")),
        ("half", Body::from("{\"hook\":"), malformed("json")),
        ("two", Body::from(format!("{} {{}}", hook_body())), malformed("json")),
        ("deep", Body::from(deep), malformed("json")),
        ("not UTF-8", Body::from(b"{\"hook\":\"\xff\"}".to_vec()), malformed("json")),
        ("a list", Body::from("[]"), malformed("not-an-object")),
        (
            "no hook",
            hook(|b| drop(b.as_object_mut().unwrap().remove("hook"))),
            malformed("member-missing"),
        ),
        (
            "no instance",
            hook(|b| drop(b.as_object_mut().unwrap().remove("hookInstance"))),
            malformed("member-missing"),
        ),
        (
            "instance is no UUID",
            hook(|b| b["hookInstance"] = "1".into()),
            malformed("hook-instance"),
        ),
        ("hook is a number", hook(|b| b["hook"] = 1.into()), malformed("member-type")),
        (
            "hook twice",
            Body::from(format!("{{\"hook\":\"a\",{}", &hook_body()[1..])),
            malformed("json-member"),
        ),
    ] {
        let response = scene.post(&scene.endpoint(), body).await;
        refused(response, expected, what).await;
    }
    assert!(scene.service.arrivals().is_empty());
}

#[tokio::test]
async fn a_body_that_grows_too_large_or_does_not_come() {
    let with_bodies = async |lines: &str| {
        let tables = format!("[body]\n{lines}\n");
        Scene::new(&Extra { tables, ..Extra::default() }).await
    };
    let scene = with_bodies("max_size = \"1KiB\"").await;
    let response = scene.post(&scene.endpoint(), in_pieces(2, 600)).await;
    refused(response, outcome(413, "body-too-large", "body-too-large"), "grows").await;
    assert!(scene.service.arrivals().is_empty());

    let scene = with_bodies("timeout = \"50ms\"").await;
    let never = futures_util::stream::pending::<Result<Frame<Bytes>, Infallible>>();
    let response = scene.post(&scene.endpoint(), Body::wrap(StreamBody::new(never))).await;
    refused(response, outcome(408, "body-too-slow", "body-too-slow"), "never").await;
    assert!(scene.service.arrivals().is_empty());
}

#[tokio::test]
async fn media_types() {
    let scene = Scene::new(&Extra::default()).await;
    for (declared, taken) in [
        (Some("application/json"), true),
        (Some("application/json; charset=utf-8"), true),
        (Some("Application/JSON"), true),
        (Some("application/fhir+json"), true),
        (Some("text/plain"), false),
        (Some("text/json"), false),
        (Some("application/x-www-form-urlencoded"), false),
        (Some("application/jsonp"), false),
        (Some("application/json, text/plain"), false),
        (Some(""), false),
        (None, false),
    ] {
        for url in [scene.endpoint(), scene.feedback()] {
            let body =
                if url == scene.feedback() { "{\"feedback\":[]}".into() } else { hook_body() };
            let mut request = scene.http().post(&url).bearer_auth(scene.token(&url)).body(body);
            if let Some(declared) = declared {
                request = request.header("content-type", declared);
            }
            let response = request.send().await.unwrap();
            let what = format!("{declared:?} at {url}");
            if taken {
                assert_eq!(response.status(), 200, "{what}");
            } else {
                refused(response, outcome(415, "media-type", "media-type"), &what).await;
            }
        }
    }
}

/// Whatever is wrong with the token: the same answer to the byte, but for the request's id and the time.
#[tokio::test]
async fn every_bad_token_gets_the_same_answer() {
    let tables = "[limits]\nmode = \"off\"\n[discovery]\nmode = \"authenticated\"\n".to_owned();
    let client = "tenants = [\"clinic-a\"]".to_owned();
    let scene = Scene::new(&Extra { tables, client, ..Extra::default() }).await;
    let url = scene.endpoint();
    let good = |change: &dyn Fn(&mut Value)| {
        scene.token_with(&url, |claims| {
            claims["tenant"] = "clinic-a".into();
            change(claims);
        })
    };
    let bearer = |token: String| Some(format!("Bearer {token}"));
    let whole = good(&|_| {});
    let (head, _) = whole.rsplit_once('.').unwrap();
    let other = crate::harness::Ehr::new("other");
    let foreign_key = other.key.sign(&scene.claims(&url), None).unwrap();
    let jku = scene.key.sign(&scene.claims(&url), Some("https://evil.example/jwks")).unwrap();
    let spent = good(&|_| {});
    assert_eq!(scene.post_with(&url, &spent, hook_body()).await.status(), 200);
    let now = scene.claims(&url)["iat"].as_u64().unwrap();
    let table: Vec<(&str, Option<String>, &str)> = vec![
        ("nothing", None, "token-missing"),
        ("another scheme", Some("Basic dTpw".to_owned()), "token-scheme"),
        ("no token", Some("Bearer ".to_owned()), "token-malformed"),
        ("two tokens", Some(format!("Bearer {whole} {whole}")), "token-malformed"),
        ("no JWT", bearer("abc".to_owned()), "token-malformed"),
        ("no signature", bearer(format!("{head}.")), "signature"),
        (
            "another's signature",
            bearer(format!("{head}.{}", &foreign_key[foreign_key.rfind('.').unwrap() + 1..])),
            "signature",
        ),
        ("another's key", bearer(foreign_key.clone()), "kid"),
        ("another's address for keys", bearer(jku), "jku"),
        ("an unknown issuer", bearer(good(&|c| c["iss"] = "https://x".into())), "issuer"),
        ("no issuer", bearer(good(&|c| drop(c.as_object_mut().unwrap().remove("iss")))), "issuer"),
        ("no id", bearer(good(&|c| drop(c.as_object_mut().unwrap().remove("jti")))), "claim"),
        ("an end of the wrong type", bearer(good(&|c| c["exp"] = "soon".into())), "claim"),
        ("for somebody else", bearer(good(&|c| c["aud"] = "https://x".into())), "audience"),
        (
            "over",
            bearer(good(&|c| {
                c["iat"] = (now - 400).into();
                c["exp"] = (now - 100).into();
            })),
            "expired",
        ),
        ("not yet", bearer(good(&|c| c["nbf"] = (now + 100).into())), "not-yet-valid"),
        ("from the future", bearer(good(&|c| c["iat"] = (now + 100).into())), "issued-in-future"),
        ("for too long", bearer(good(&|c| c["exp"] = (now + 3600).into())), "lifetime"),
        ("another tenant", bearer(good(&|c| c["tenant"] = "clinic-b".into())), "tenant"),
        (
            "no tenant",
            bearer(good(&|c| drop(c.as_object_mut().unwrap().remove("tenant")))),
            "tenant",
        ),
        ("spent", bearer(spent), "replayed"),
        (
            "older than memory",
            bearer(good(&|c| {
                c["iat"] = (now - 10).into();
                c["exp"] = (now + 10).into();
            })),
            "forgotten",
        ),
    ];
    let mut seen = Vec::new();
    for (what, authorization, reason) in table {
        let mut request =
            scene.http().post(&url).header("content-type", "application/json").body(hook_body());
        if let Some(value) = authorization {
            request = request.header("authorization", value);
        }
        let response = request.send().await.unwrap();
        let id = request_id(&response);
        let mut fields = response.headers().clone();
        let _ = (fields.remove("date"), fields.insert("x-request-id", "-".parse().unwrap()));
        let version = response.version();
        assert_eq!(response.status(), 401, "{what}");
        assert_eq!(fields["www-authenticate"], "Bearer", "{what}");
        let body = response.text().await.unwrap().replace(&id, "-");
        let lines = lines_of(&id);
        assert_eq!(lines.len(), 1, "{what}: {lines:?}");
        assert_eq!(lines[0]["reason"], reason, "{what}: {}", lines[0]);
        assert_eq!(lines[0]["code"], "unauthorized", "{what}");
        let fields: Vec<String> = fields.iter().map(|(n, v)| format!("{n}: {v:?}")).collect();
        seen.push((what, format!("{version:?}\n{}\n{body}", fields.join("\n"))));
    }
    let (_, first) = &seen[0];
    assert!(seen.len() > 20);
    for (what, answer) in &seen {
        assert_eq!(answer, first, "{what} can be told from outside");
    }
    assert_eq!(scene.service.arrivals().len(), 1, "only the one that was then spent");
}

#[tokio::test]
async fn every_way_that_asks_for_a_token_refuses_without_one() {
    let tables = "[discovery]\nmode = \"authenticated\"\n".to_owned();
    let scene = Scene::new(&Extra { tables, ..Extra::default() }).await;
    let expected = outcome(401, "unauthorized", "token-missing");
    for (method, path) in [
        (Method::GET, "/cds-services"),
        (Method::POST, "/cds-services/a"),
        (Method::POST, "/cds-services/a/feedback"),
        (Method::POST, "/cds-services/a/analytics/9b2b0d3e-0000-4000-8000-000000000000"),
    ] {
        refused(send(&scene, method, path, "*/*").await, expected, path).await;
    }
    let head = send(&scene, Method::HEAD, "/cds-services", "*/*").await;
    assert_eq!(
        (head.status().as_u16(), head.headers()["www-authenticate"].to_str().unwrap()),
        (401, "Bearer")
    );
    assert!(scene.service.arrivals().is_empty());
}

#[tokio::test]
async fn ids_that_were_not_issued_here() {
    let scene = Scene::new(&Extra::default()).await;
    let id = "9b2b0d3e-0000-4000-8000-000000000000";
    let body = format!("{{\"feedback\":[{{\"card\":\"{id}\",\"outcome\":\"overridden\"}}]}}");
    let response = scene.post(&scene.feedback(), body).await;
    refused(response, outcome(410, "id-gone", "no-id-known"), "feedback").await;
    let url = format!("{}/analytics/{id}", scene.endpoint());
    let response = scene.post(&url, "{}").await;
    assert_eq!(response.status(), 410);
    let outcome: Value = response.json().await.unwrap();
    assert_eq!(outcome["issue"][0]["details"]["coding"][0]["code"], "id-gone");
    assert!(scene.service.arrivals().is_empty());
}

/// Targets that two readers could take for two, and fields that should be there once. The way is not
/// known then, so nobody is taken for an EHR.
#[tokio::test]
async fn what_could_be_read_in_two_ways_reaches_nobody() {
    let scene = Scene::new(&Extra::default()).await;
    let token = scene.token(&scene.endpoint());
    let host = scene.authority();
    let with = |target: &str, more: &str| {
        let body = hook_body();
        format!(
            "POST {target} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n{more}\r\n{body}",
            body.len()
        )
    };
    for (target, status) in [
        ("/cds-services%2Fpatient-greeting", "400"),
        ("/cds-services%2fpatient-greeting", "400"),
        ("/cds-services/%2e%2e/patient-greeting", "400"),
        ("/cds-services/../cds-services/patient-greeting", "400"),
        ("/cds-services/./patient-greeting", "400"),
        ("/cds-services//patient-greeting", "400"),
        ("//cds-services/patient-greeting", "400"),
        ("/cds-services/patient-greeting%00", "400"),
        ("/cds-services/patient%255greeting", "400"),
        ("/cds-services\\patient-greeting", "400"),
        ("/cds-services/patient-greeting%5c", "400"),
        ("/cds-services/patient-greeting/", "404"),
        ("/CDS-services/patient-greeting", "404"),
        ("/cds-services;a=b/patient-greeting", "404"),
        ("/%63ds-services/patient-greeting", "404"),
        ("/cds-services/patient-greeting/execute", "404"),
        ("/x/cds-services/patient-greeting", "404"),
        ("cds-services/patient-greeting", "400"),
        ("http://elsewhere.example/cds-services/patient-greeting", "400"),
    ] {
        let answer = scene.raw(with(target, "")).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{target}: {answer}");
    }
    for more in [
        "Authorization: Bearer x\r\n",
        "Content-Type: text/plain\r\n",
        "Host: other.example\r\n",
        "Upgrade: h2c\r\n",
        "Content-Length: 1\r\n",
        "Transfer-Encoding: chunked\r\n",
    ] {
        let answer = scene.raw(with("/cds-services/patient-greeting", more)).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{more}: {answer}");
    }
    let connect = format!("CONNECT {host} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    assert!(scene.raw(connect).await.starts_with("HTTP/1.1 400 "));
    let none = "no such way or two ways reached the service";
    assert!(scene.service.arrivals().is_empty(), "{none}: {:?}", scene.service.arrivals());
    let twin = scene.raw(with("/cds-services/patient-greeting", "")).await;
    assert!(twin.starts_with("HTTP/1.1 200 "), "what is well-formed passes: {twin}");
}

#[tokio::test]
async fn an_upstream_with_all_its_places_taken() {
    let silent = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let lists = format!(
        "[[upstream]]\nid = \"silent\"\nurl = \"http://{}\"\nmax_concurrent = 1\nmax_queued = 0\n\
         [[service]]\nid = \"*\"\nupstream = \"silent\"\n",
        silent.local_addr().unwrap(),
    );
    let scene = Scene::new(&Extra { lists, ..Extra::default() }).await;
    let url = scene.endpoint();
    let mut first = pin!(scene.post(&url, hook_body()));
    let taken = tokio::select! {
        _ = &mut first => panic!("nobody could answer this"),
        accepted = silent.accept() => accepted.unwrap(),
    };
    let second = tokio::select! {
        _ = &mut first => panic!("nobody could answer this"),
        response = scene.post(&url, hook_body()) => response,
    };
    let expected = outcome(503, "overloaded", "upstream-overloaded");
    refused(second, expected, "no place").await;
    drop(taken);
}

#[tokio::test]
async fn an_answer_is_logged_once_and_says_who_called() {
    let scene = Scene::new(&Extra::default()).await;
    let response = scene.post(&scene.endpoint(), hook_body()).await;
    let lines = lines_of(&request_id(&response));
    assert_eq!(lines.len(), 1, "{lines:?}");
    let line = &lines[0];
    for (name, value) in [
        ("target", "hookgate::access"),
        ("way", "hook"),
        ("client", "ehr"),
        ("service", "patient-greeting"),
        ("audience", "endpoint"),
        ("hook", "patient-view"),
        ("method", "POST"),
        ("address", "127.0.0.1"),
    ] {
        assert_eq!(line[name], value, "{name}: {line}");
    }
    assert_eq!(line["status"], 200);
    for absent in ["reason", "code", "detail", "observed"] {
        assert!(line.get(absent).is_none(), "{absent}: {line}");
    }
    assert!(!line.to_string().contains(ISSUER), "{line}");
}
