//! What arrives at the upstream.

use std::io::Read;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use flate2::read::GzDecoder;
use hookgate::gateway::upstream::{Authorization, Claims, Settings, Signer, Unsigned, Way};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::rig::{Gateway, NOW, OK, Server, data, json, service, settings};

/// A field's name, what is sent in it, and what arrives under that name.
struct Field(&'static str, &'static [u8], &'static [&'static [u8]]);

/// Every field that an EHR, a proxy or an attacker sends, and what of it arrives.
const INBOUND: &[Field] = &[
    // What passes, to the byte.
    Field(
        "content-type",
        b"application/json; charset=UTF-8",
        &[b"application/json; charset=UTF-8"],
    ),
    Field("accept", b"application/json", &[b"application/json", b"*/*;q=0.1"]),
    Field("accept", b"*/*;q=0.1", &[b"application/json", b"*/*;q=0.1"]),
    Field("accept-language", b"de-CH,\xfcr", &[b"de-CH,\xfcr"]),
    Field("user-agent", b"Epic/11.3", &[b"Epic/11.3"]),
    // What the gateway writes itself, whatever is said.
    Field("accept-encoding", b"gzip, br", &[b"identity"]),
    Field("host", b"gw.example:8443", &[b"UPSTREAM"]),
    Field("content-length", b"999", &[b"23"]),
    Field(
        "forwarded",
        b"for=10.0.0.1;proto=http",
        &[b"for=\"[2001:db8::7]\";host=\"gw.example:8443\";proto=https"],
    ),
    Field("x-forwarded-for", b"10.0.0.1", &[b"2001:db8::7"]),
    Field("x-forwarded-host", b"evil.example", &[b"gw.example:8443"]),
    Field("x-forwarded-proto", b"http", &[b"https"]),
    Field("x-request-id", b"mine", &[b"01a04..."]),
    Field("x-hookgate-client", b"admin", &[b"ehr"]),
    Field("x-hookgate-issuer", b"https://evil.example", &[b"https://ehr.example.org/iss"]),
    Field("x-hookgate-tenant", b"other", &[b"Klinik%20S%C3%BCd"]),
    Field("x-hookgate-hook-instance", b"other", &[b"00000000-0000-0000-0000-000000000007"]),
    Field(
        "traceparent",
        b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
        &[b"00-0af7651916cd43dd8448eb211c80319c-..."],
    ),
    Field("tracestate", b"a=1", &[b"a=1"]),
    // What must not arrive.
    Field("authorization", b"Bearer e.y.J", &[]),
    Field("cookie", b"session=1", &[]),
    Field("proxy-authorization", b"Basic eA==", &[]),
    Field("x_hookgate_client", b"admin", &[]),
    Field("x-hookgate_client", b"admin", &[]),
    Field("x_hookgate-tenant", b"admin", &[]),
    Field("x-hookgate-anything", b"admin", &[]),
    Field("x-hookgate", b"admin", &[]),
    Field("x_forwarded_for", b"10.0.0.1", &[]),
    Field("x-forwarded-prefix", b"/x", &[]),
    Field("x-forwarded-port", b"1", &[]),
    Field("x-forwarded-user", b"root", &[]),
    Field("x-forwarded-client-cert", b"By=x", &[]),
    Field("x-real-ip", b"10.0.0.1", &[]),
    Field("true-client-ip", b"10.0.0.1", &[]),
    Field("x-original-url", b"/admin", &[]),
    Field("x-rewrite-url", b"/admin", &[]),
    Field("x-http-method-override", b"DELETE", &[]),
    Field("x-remote-user", b"root", &[]),
    Field("remote-user", b"root", &[]),
    Field("connection", b"keep-alive, x-drop", &[]),
    Field("x-drop", b"1", &[]),
    Field("keep-alive", b"timeout=5", &[]),
    Field("proxy-connection", b"keep-alive", &[]),
    Field("te", b"trailers", &[]),
    Field("trailer", b"x-late", &[]),
    Field("transfer-encoding", b"chunked", &[]),
    Field("upgrade", b"websocket", &[]),
    Field("http2-settings", b"AAMAAABkAAQAAP__", &[]),
    Field("expect", b"100-continue", &[]),
    Field("content-encoding", b"gzip", &[]),
    Field("range", b"bytes=0-1", &[]),
    Field("if-none-match", b"\"x\"", &[]),
    Field("if-match", b"\"x\"", &[]),
    Field("origin", b"https://ehr.example.org", &[]),
    Field("referer", b"https://ehr.example.org/Patient/1", &[]),
    Field("sec-fetch-mode", b"cors", &[]),
    Field("access-control-request-method", b"POST", &[]),
    Field("via", b"1.1 proxy", &[]),
    Field("baggage", b"patient=1", &[]),
    Field("x-api-key", b"k", &[]),
    Field("x-custom", b"c", &[]),
];

fn inbound() -> HeaderMap {
    let mut headers = HeaderMap::new();
    for Field(name, value, _) in INBOUND {
        let name = HeaderName::from_bytes(name.as_bytes()).unwrap();
        headers.append(name, HeaderValue::from_bytes(value).unwrap());
    }
    headers
}

fn matches(seen: &[u8], expected: &[u8], upstream: &str) -> bool {
    match expected {
        b"UPSTREAM" => seen == upstream.as_bytes(),
        b"01a04..." => {
            let text = std::str::from_utf8(seen).unwrap();
            text.parse::<uuid::Uuid>().unwrap().get_version_num() == 7
        }
        _ => expected
            .strip_suffix(b"...")
            .map_or(seen == expected, |start| seen.starts_with(start) && seen.len() == 55),
    }
}

#[tokio::test]
async fn only_what_is_listed_arrives() {
    let server = Server::answering(OK, false).await;
    let gateway = Gateway::new(&server.url());
    let body = Bytes::from_static(b"{\"hook\":\"patient-view\"}");
    gateway.call_with("legacy", Way::Hook(&service()), &inbound(), body).await.unwrap();
    let seen = server.last();
    assert_eq!(seen.line, "POST /cds-services/patient-greeting HTTP/1.1");
    for Field(name, sent, expected) in INBOUND {
        let arrived: Vec<_> = seen
            .fields
            .iter()
            .filter(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_slice())
            .collect();
        let same = arrived.len() == expected.len()
            && arrived
                .iter()
                .zip(*expected)
                .all(|(a, e)| matches(a, e, &server.address.to_string()));
        assert!(same, "{name}: sent {}, arrived {arrived:?}", String::from_utf8_lossy(sent));
    }
    let known: Vec<_> = INBOUND.iter().map(|Field(name, ..)| *name).collect();
    for (name, _) in &seen.fields {
        assert!(known.contains(&name.to_ascii_lowercase().as_str()), "{name} was not expected");
    }
    assert_eq!(seen.one("traceparent").len(), 55);
    assert!(!seen.one("traceparent").contains("b7ad6b7169203331"), "a span of our own");
}

#[tokio::test]
async fn connection_cannot_take_away_what_the_gateway_says() {
    let server = Server::answering(OK, false).await;
    let gateway = Gateway::new(&server.url());
    let mut headers = json();
    headers.insert(
        "connection",
        HeaderValue::from_static("x-hookgate-client, x-forwarded-for, host, content-length"),
    );
    gateway
        .call_with("legacy", Way::Hook(&service()), &headers, Bytes::from_static(b"{}"))
        .await
        .unwrap();
    assert_eq!(server.last().one("x-hookgate-client"), "ehr");
    assert_eq!(server.last().one("x-forwarded-for"), "2001:db8::7");
    assert_eq!(server.last().one("content-length"), "2");
}

#[tokio::test]
async fn the_operator_may_let_more_through() {
    let server = Server::answering(OK, false).await;
    let own = Settings { request_headers: vec!["X-Api-Key".to_owned()], ..settings(&server.url()) };
    let gateway = Gateway::with(&[own], None);
    gateway.call_with("legacy", Way::Hook(&service()), &inbound(), Bytes::new()).await.unwrap();
    assert_eq!(server.last().all("x-api-key"), ["k"]);
    assert!(server.last().all("x-custom").is_empty());
}

#[tokio::test]
async fn every_request_arrives_byte_for_byte() {
    let server = Server::answering(OK, false).await;
    let gateway = Gateway::new(&server.url());
    let mut bodies: Vec<Vec<u8>> = [
        "sandbox-feedback-overridden.json",
        "sandbox-patient-view-0.4k.json",
        "sandbox-patient-view-13k.json",
        "sandbox-patient-view-1863k.json.gz",
        "sandbox-patient-view-304k.json.gz",
        "sandbox2024-feedback-accepted.json",
    ]
    .iter()
    .map(|name| {
        let bytes = data(name);
        if !name.ends_with(".gz") {
            return bytes;
        }
        let mut plain = Vec::new();
        GzDecoder::new(bytes.as_slice()).read_to_end(&mut plain).unwrap();
        plain
    })
    .collect();
    assert!(bodies.iter().any(|body| body.len() > 1_800_000));
    bodies.push(b" {\"a\":1.0e2,\"a\":\xff\xfe}\r\n\0".to_vec());
    bodies.push(Vec::new());
    let service = service();
    for body in bodies {
        for way in [Way::Hook(&service), Way::Feedback(&service), Way::Analytics(&service, "u")] {
            let sent = Bytes::from(body.clone());
            gateway.call_with("legacy", way, &json(), sent).await.unwrap();
            let seen = server.last();
            assert!(seen.body == body, "{way:?}: {} bytes changed", body.len());
            assert_eq!(seen.one("content-length"), body.len().to_string());
            assert!(seen.all("transfer-encoding").is_empty());
        }
    }
    assert_eq!(server.connections(), 1, "one connection serves them all");
}

#[tokio::test]
async fn the_ways_are_mapped() {
    let server = Server::answering(OK, false).await;
    let base = server.url();
    let health_chain =
        Settings { discovery_path: "/cds/cds-discovery".to_owned(), ..settings(&base) };
    let redcap = settings(&format!("{base}/api/?type=module&cds-url="));
    let deep = settings(&format!("{base}/r4/"));
    let id = service();
    let ways = [Way::Discovery, Way::Hook(&id), Way::Feedback(&id), Way::Analytics(&id, "a/ü&b")];
    for (own, expected) in [
        (
            health_chain,
            [
                "GET /cds/cds-discovery HTTP/1.1",
                "POST /cds-services/patient-greeting HTTP/1.1",
                "POST /cds-services/patient-greeting/feedback HTTP/1.1",
                "POST /cds-services/patient-greeting/analytics/a%2F%C3%BC&b HTTP/1.1",
            ],
        ),
        (
            redcap,
            [
                "GET /api/?type=module&cds-url=/cds-services HTTP/1.1",
                "POST /api/?type=module&cds-url=/cds-services/patient-greeting HTTP/1.1",
                "POST /api/?type=module&cds-url=/cds-services/patient-greeting/feedback HTTP/1.1",
                "POST /api/?type=module&cds-url=/cds-services/patient-greeting/analytics/\
             a%2F%C3%BC%26b HTTP/1.1",
            ],
        ),
        (
            deep,
            [
                "GET /r4/cds-services HTTP/1.1",
                "POST /r4/cds-services/patient-greeting HTTP/1.1",
                "POST /r4/cds-services/patient-greeting/feedback HTTP/1.1",
                "POST /r4/cds-services/patient-greeting/analytics/a%2F%C3%BC&b HTTP/1.1",
            ],
        ),
    ] {
        let gateway = Gateway::with(&[own], None);
        for (way, line) in ways.iter().zip(expected) {
            gateway.call_with("legacy", *way, &json(), Bytes::new()).await.unwrap();
            assert_eq!(server.last().line, line);
        }
    }
}

#[tokio::test]
async fn discovery_has_no_body_and_may_have_a_condition() {
    let server = Server::answering("HTTP/1.1 304 Not Modified\r\netag: \"x\"\r\n\r\n", false).await;
    let gateway = Gateway::new(&server.url());
    let mut headers = json();
    headers.insert("if-none-match", HeaderValue::from_static("\"x\""));
    let body = Bytes::from_static(b"unexpected");
    let answer = gateway.call_with("legacy", Way::Discovery, &headers, body).await.unwrap();
    assert_eq!(answer.status(), 304);
    assert_eq!(answer.etag().unwrap(), "\"x\"");
    let seen = server.last();
    assert_eq!((seen.one("if-none-match").as_str(), seen.body.len()), ("\"x\"", 0));
    assert!(seen.all("content-length").is_empty());
}

#[derive(Debug)]
struct Unsafe;

/// Signs with nothing: what matters here is what is to be signed.
impl Signer for Unsafe {
    fn sign(&self, claims: &Claims<'_>) -> Result<String, Unsigned> {
        Ok(format!("e30.{}.sig", URL_SAFE_NO_PAD.encode(serde_json::to_vec(claims).unwrap())))
    }
}

#[derive(Debug)]
struct Broken;

impl Signer for Broken {
    fn sign(&self, _: &Claims<'_>) -> Result<String, Unsigned> {
        Err(Unsigned("no key".to_owned()))
    }
}

#[tokio::test]
async fn authorization_is_the_operators_choice() {
    let server = Server::answering(OK, false).await;
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, text).unwrap();
        Some(path)
    };
    let with = |authorization, secret_file| Settings {
        authorization,
        secret_file,
        ..settings(&server.url())
    };
    for (own, expected) in [
        (with(Authorization::Strip, None), vec![]),
        (with(Authorization::Forward, None), vec!["Bearer e.y.J"]),
        (with(Authorization::Basic, file("basic", "me:open\n")), vec!["Basic bWU6b3Blbg=="]),
        (with(Authorization::Bearer, file("bearer", "t0ken\n")), vec!["Bearer t0ken"]),
    ] {
        let gateway = Gateway::with(&[own], None);
        gateway.call_with("legacy", Way::Hook(&service()), &inbound(), Bytes::new()).await.unwrap();
        assert_eq!(server.last().all("authorization"), expected);
    }
    let forward = Gateway::with(&[with(Authorization::Forward, None)], None);
    forward.hook().await.unwrap();
    assert!(server.last().all("authorization").is_empty(), "nothing came, nothing goes");
}

#[tokio::test]
async fn a_reissued_token_is_for_this_upstream_and_this_minute() {
    let server = Server::answering(OK, false).await;
    let own = Settings { authorization: Authorization::Reissue, ..settings(&server.url()) };
    let gateway = Gateway::with(std::slice::from_ref(&own), Some(Arc::new(Unsafe)));
    let mut ids = Vec::new();
    for _ in 0..2 {
        gateway.call_with("legacy", Way::Hook(&service()), &inbound(), Bytes::new()).await.unwrap();
        let token = server.last().one("authorization");
        let payload = token.strip_prefix("Bearer e30.").unwrap().strip_suffix(".sig").unwrap();
        let mut claims: serde_json::Value =
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
        ids.push(claims["jti"].take().as_str().unwrap().parse::<uuid::Uuid>().unwrap());
        assert_eq!(
            claims,
            serde_json::json!({
                "iss": "https://gw.example:8443/cds",
                "aud": format!("{}/cds-services/patient-greeting", server.url()),
                "sub": "ehr",
                "iat": NOW.secs(),
                "exp": NOW.secs() + 60,
                "jti": null,
                "tenant": "Klinik Süd",
            })
        );
    }
    assert_ne!(ids[0], ids[1]);

    let unsigned =
        Gateway::with(std::slice::from_ref(&own), Some(Arc::new(Broken))).hook().await.unwrap_err();
    assert!(unsigned.surely_not_processed());
    assert_eq!(server.seen().len(), 2, "nothing was sent without a token");
    let Err(problems) = Gateway::try_with(&[own], None) else { panic!("no key, yet it starts") };
    assert!(problems[0].contains("needs a key"), "{problems:?}");
}

#[tokio::test]
async fn every_problem_of_every_upstream_is_named() {
    let broken = Settings {
        service_path: "x".to_owned(),
        request_headers: vec!["Host".to_owned()],
        authorization: Authorization::Bearer,
        secret_file: Some("/nonexistent/secret".into()),
        ..settings("https://h")
    };
    let untrusted = Settings { ca_file: Some("/nonexistent/ca".into()), ..settings("https://h") };
    let good = settings("http://h");
    let Err(problems) = Gateway::try_with(&[broken, untrusted, good.clone(), good], None) else {
        panic!("nothing was wrong")
    };
    assert_eq!(problems.len(), 5, "{problems:#?}");
    assert!(problems.iter().all(|why| why.starts_with("upstream[")));
}
