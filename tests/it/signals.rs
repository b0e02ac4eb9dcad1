//! What a gateway tells about its calls: log lines, audit events and traces, each of which names the same request.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Attribute;
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message;
use serde_json::Value;

use crate::harness::{
    AUDIT, Extra, HOOK_INSTANCE, Scene, all_lines, exported, gone, hook_body, lines_of, opened,
    request_id,
};
use crate::port::free_port;

const TARGET: &str = "https://app.example/?session=4711";

/// The spans of one trace, of which somebody else's tests know nothing.
fn spans_of(trace: &str) -> Vec<Span> {
    let requests = exported();
    let requests = requests.iter().map(|b| ExportTraceServiceRequest::decode(b.clone()).unwrap());
    let scopes = requests.flat_map(|request| request.resource_spans).flat_map(|all| {
        let names: Vec<String> =
            all.resource.unwrap().attributes.into_iter().map(|attribute| attribute.key).collect();
        assert!(names.contains(&"service.name".to_owned()), "{names:?}");
        all.scope_spans
    });
    let spans = scopes.flat_map(|scope| scope.spans);
    spans.filter(|span| hex(&span.trace_id) == trace).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn attribute(span: &Span, name: &str) -> Option<String> {
    let found = span.attributes.iter().find(|attribute| attribute.key == name)?;
    let value = found.value.clone()?.value?;
    if let Attribute::IntValue(number) = value {
        return Some(number.to_string());
    }
    let Attribute::StringValue(text) = value else { panic!("{value:?}") };
    Some(text)
}

/// Waits until the gateway has exported what it has.
async fn until_exported(scene: &Scene, trace: &str) -> Vec<Span> {
    for _ in 0..2000 {
        scene.advance(Duration::from_secs(6));
        let spans = spans_of(trace);
        if !spans.is_empty() {
            return spans;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("nothing is exported: {}", scene.metrics().await);
}

#[tokio::test]
async fn a_trace_goes_from_the_ehr_through_the_gateway_to_the_service() {
    let scene = Scene::new(&Extra::default()).await;
    let (trace, ehr) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    let url = scene.endpoint();
    let token = scene.token(&url);
    let call = scene.http().post(&url).bearer_auth(&token).body(hook_body());
    let call = call
        .header("content-type", "application/json")
        .header("traceparent", format!("00-{trace}-{ehr}-01"))
        .header("tracestate", "ehr=1");
    let answer = call.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let line = lines_of(&request_id(&answer)).remove(0);
    assert_eq!(line["trace"], trace);

    let spans = until_exported(&scene, trace).await;
    let (whole, parts): (Vec<&Span>, Vec<&Span>) =
        spans.iter().partition(|span| span.kind() == SpanKind::Server);
    let [whole] = whole[..] else { panic!("{spans:#?}") };
    assert_eq!(whole.name, "POST /cds-services/{id}");
    assert_eq!(hex(&whole.parent_span_id), ehr);
    assert_eq!(attribute(whole, "http.response.status_code").unwrap(), "200");
    assert_eq!(attribute(whole, "hookgate.client").unwrap(), "ehr");
    assert_eq!(attribute(whole, "hookgate.request").unwrap(), line["request"]);
    let names: BTreeSet<&str> = parts.iter().map(|span| span.name.as_str()).collect();
    assert_eq!(names, BTreeSet::from(["auth", "body", "limit", "rewrite", "spend", "upstream"]));
    for part in &parts {
        assert_eq!(part.parent_span_id, whole.span_id, "{part:?}");
        assert!(part.start_time_unix_nano >= whole.start_time_unix_nano);
        assert!(part.end_time_unix_nano <= whole.end_time_unix_nano);
    }
    // The service is told the gateway's call as the parent of its own spans.
    let call = parts.iter().find(|span| span.kind() == SpanKind::Client).unwrap();
    let arrival = scene.service.arrivals().remove(0);
    let told = arrival.headers["traceparent"].to_str().unwrap();
    assert_eq!(told, format!("00-{trace}-{}-01", hex(&call.span_id)));
    assert_eq!(arrival.headers["tracestate"], "ehr=1");
    assert_eq!(attribute(call, "hookgate.upstream").unwrap(), "legacy");
}

#[tokio::test]
async fn what_the_ehr_does_not_record_is_not_recorded_here() {
    let scene = Scene::new(&Extra::default()).await;
    let (not, yes) = ("5bf92f3577b34da6a3ce929d0e0e4736", "6bf92f3577b34da6a3ce929d0e0e4736");
    for (trace, flag) in [(not, "00"), (yes, "01")] {
        let call = scene.http().get(scene.public_url.clone() + "/cds-services");
        let call = call.header("traceparent", format!("00-{trace}-00f067aa0ba902b7-{flag}"));
        call.send().await.unwrap();
    }
    until_exported(&scene, yes).await;
    assert_eq!(spans_of(not), []);
}

#[tokio::test]
async fn a_link_is_in_no_span() {
    let scene = Scene::new(&Extra::default()).await;
    let link = scene.link().await;
    let trace = "7bf92f3577b34da6a3ce929d0e0e4736";
    let click = scene.click(&link).header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"));
    opened(&click.send().await.unwrap(), TARGET);
    let spans = until_exported(&scene, trace).await;
    assert_eq!(spans[0].name, "GET /open/{token}");
    assert_eq!(attribute(&spans[0], "http.route").unwrap(), "/open/{token}");
    assert_eq!(attribute(&spans[0], "url.path"), None);
}

#[tokio::test]
async fn a_collector_that_is_away_keeps_nobody_and_is_counted() {
    let tables = format!("[traces]\nendpoint = \"http://127.0.0.1:{}/v1/traces\"\n", free_port());
    let scene = Scene::new(&Extra { tables, ..Extra::default() }).await;
    scene.cards().await;
    let failed = "hookgate_traces_spans_total{outcome=\"failed\"}";
    for _ in 0..2000 {
        scene.advance(Duration::from_secs(60));
        if scene.sample(failed).await > 0 {
            scene.cards().await;
            assert!(all_lines().contains("traces are not taken"));
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{}", scene.metrics().await);
}

fn audited(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[tokio::test]
async fn each_decision_has_its_event() {
    let mut scene = Scene::new(&Extra::default()).await;
    let cards = scene.cards().await;
    let link = cards["cards"][0]["links"][0]["url"].as_str().unwrap();
    opened(&scene.click(link).send().await.unwrap(), TARGET);
    gone(&scene.click(link).send().await.unwrap());
    let url = scene.endpoint();
    let token = scene.token(&url);
    for status in [200, 401] {
        assert_eq!(scene.post_with(&url, &token, hook_body()).await.status(), status);
    }
    let report = |card: &str| {
        let time = "2026-11-23T18:00:00Z";
        serde_json::json!({"feedback": [
            {"card": card, "outcome": "overridden", "outcomeTimestamp": time},
        ]})
        .to_string()
    };
    let card = cards["cards"][0]["uuid"].as_str().unwrap();
    assert_eq!(scene.report(report(card)).await.status(), 200);
    assert_eq!(scene.report(report("not-an-id-of-ours")).await.status(), 410);
    let preflight = scene.http().request(http::Method::OPTIONS, &url).send().await.unwrap();
    assert!(preflight.status().is_success());
    scene.stop().await;

    let events = audited(&scene.directory().join(AUDIT));
    let words: Vec<&str> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    let expected = [
        "started",
        "link-minted",
        "call-accepted",
        "link-opened",
        "link-refused",
        "link-minted",
        "call-accepted",
        "token-replayed",
        "id-used",
        "call-accepted",
        "id-refused",
        "call-refused",
        "stopped",
    ];
    let keys = |word: &&&str| **word != "keys-taken";
    assert_eq!(words.iter().filter(keys).copied().collect::<Vec<_>>(), expected);
    let of = |word: &str| events.iter().find(|event| event["event"] == word).unwrap();
    // The same link, by a name that opens nothing.
    let print = of("link-minted")["link"].as_str().unwrap();
    assert_eq!(print.len(), 16);
    assert_eq!(of("link-opened")["link"], print);
    assert_eq!(of("link-refused")["link"], print);
    assert_eq!(of("link-refused")["reason"], "link-spent");
    assert_eq!(of("link-opened")["hook_instance"], HOOK_INSTANCE);
    assert_eq!(of("token-replayed")["client"], "ehr");
    // Log line and event name one request.
    let accepted = of("call-accepted");
    let line = lines_of(accepted["request"].as_str().unwrap()).remove(0);
    assert_eq!((&line["trace"], &line["client"]), (&accepted["trace"], &accepted["client"]));
}

#[tokio::test]
async fn where_events_are_required_nothing_is_decided_without_them() {
    let folder = tempfile::tempdir().unwrap();
    let (logs, away) = (folder.path().join("logs"), folder.path().join("away"));
    std::fs::create_dir(&logs).unwrap();
    let file = logs.join("audit");
    let tables = format!("[audit]\nfile = \"{}\"\nrequired = true\n", file.display());
    let scene = Scene::new(&Extra { tables, ..Extra::default() }).await;
    let link = scene.link().await;
    // Whoever got the answer finds its event on disk.
    assert!(audited(&file).iter().any(|event| event["event"] == "call-accepted"));

    std::fs::rename(&logs, &away).unwrap();
    let refused = scene.click(&link).send().await.unwrap();
    assert_eq!(refused.status(), 503);
    assert_eq!(lines_of(&request_id(&refused))[0]["reason"], "audit-unwritten");
    let cookie = refused.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap();
    let before = scene.service.arrivals().len();
    assert_eq!(scene.post(&scene.endpoint(), hook_body()).await.status(), 503);
    assert_eq!(scene.service.arrivals().len(), before, "the call went on");
    let (status, pending) = scene.pending().await;
    assert!(status == 503 && pending.iter().any(|why| why.starts_with("audit: ")), "{pending:?}");
    assert_eq!(scene.sample("hookgate_audit_trouble").await, 1);

    std::fs::rename(&away, &logs).unwrap();
    scene.until_pending(&[]).await;
    scene.cards().await;
    let events = audited(&file);
    let found = |word: &str| events.iter().filter(|event| event["event"] == word).count();
    assert_eq!((found("link-opened"), found("call-accepted")), (1, 2));
    // It was spent for this browser, which may come again.
    assert_eq!(scene.click(&link).send().await.unwrap().status(), 410);
    assert_eq!(scene.click(&link).header("cookie", cookie).send().await.unwrap().status(), 303);
}

/// The cells of the first column of the table below this heading.
fn listed(file: &str, heading: &str) -> BTreeSet<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let text = std::fs::read_to_string(path).unwrap();
    let below = text.split_once(heading).unwrap().1;
    let below = below.split("\n## ").next().unwrap();
    let rows = below.lines().filter(|line| line.starts_with("| `"));
    let cells = rows.map(|row| row.split('|').nth(1).unwrap());
    cells.flat_map(|cell| cell.split('`').skip(1).step_by(2).map(str::to_owned)).collect()
}

#[tokio::test]
async fn the_table_says_what_a_request_line_has_and_nothing_else() {
    let client = "replay = \"observe\"".to_owned();
    let scene = Scene::new(&Extra { client, ..Extra::default() }).await;
    let url = scene.endpoint();
    let token = scene.token_with(&url, |claims| claims["tenant"] = "north".into());
    let mut seen = BTreeSet::new();
    let first = scene.post_with(&url, &token, hook_body()).await;
    let again = scene.post_with(&url, &token, hook_body()).await;
    let refused = scene.post_with(&url, "no token at all", hook_body()).await;
    for answer in [&first, &again, &refused] {
        let line = lines_of(&request_id(answer)).remove(0);
        seen.extend(line.as_object().unwrap().keys().cloned());
    }
    assert_eq!(seen, listed("docs/logs.md", "## The line of a request"));
}

#[tokio::test]
async fn the_table_says_which_events_there_are() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/audit/event.rs");
    let source = std::fs::read_to_string(source).unwrap();
    let words = source.split("pub const fn word(&self)").nth(1).unwrap();
    let words = words.split("\n    }\n").next().unwrap();
    let known: BTreeSet<String> = words.split('"').skip(1).step_by(2).map(str::to_owned).collect();
    assert!(known.len() > 15, "{known:?}");
    let told = listed("docs/audit.md", "## What is in it");
    assert!(known.is_subset(&told), "{:?}", known.difference(&told).collect::<Vec<_>>());
    // The fields stand in the same part.
    let scene = Scene::new(&Extra::default()).await;
    scene.link().await;
    for event in audited(&scene.directory().join(AUDIT)) {
        for field in event.as_object().unwrap().keys() {
            assert!(told.contains(field), "{field}");
        }
    }
}
