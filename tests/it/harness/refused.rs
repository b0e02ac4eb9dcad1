//! What a refusal looks like from outside, and in the log.

use serde_json::{Value, json};

use crate::harness::{lines_of, request_id};

/// For whom it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// An EHR: an OperationOutcome.
    Outcome,
    /// A person: a page.
    Page,
    /// Anybody else: RFC 9457.
    Problem,
}

/// A refusal as it is expected.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Refused {
    status: u16,
    code: &'static str,
    reason: &'static str,
    form: Form,
}

/// A refusal that an EHR reads.
pub(crate) const fn outcome(status: u16, code: &'static str, reason: &'static str) -> Refused {
    Refused { status, code, reason, form: Form::Outcome }
}

/// A refusal that anybody reads.
pub(crate) const fn problem(status: u16, code: &'static str, reason: &'static str) -> Refused {
    Refused { status, code, reason, form: Form::Problem }
}

/// A refusal that a person reads.
pub(crate) const fn page(status: u16, code: &'static str, reason: &'static str) -> Refused {
    Refused { status, code, reason, form: Form::Page }
}

/// Asserts that `response` is this refusal and gives nothing else away, and that it was logged once.
/// Gives the response's `Retry-After`.
pub(crate) async fn refused(
    response: reqwest::Response,
    expected: Refused,
    what: &str,
) -> Option<String> {
    let Refused { status, code, reason, form } = expected;
    let id = request_id(&response);
    let headers = response.headers().clone();
    let found = response.status().as_u16();
    let body = response.text().await.unwrap();
    let line = logged_once(&id, what);
    assert_eq!(found, status, "{what}: {body} {line}");
    assert_eq!(line["reason"], reason, "{what}: {line}");
    assert_eq!(line["code"], code, "{what}: {line}");
    assert_eq!(line["status"], status, "{what}: {line}");

    let field = |name: &str| {
        let all: Vec<_> = headers.get_all(name).iter().map(|v| v.to_str().unwrap()).collect();
        assert!(all.len() < 2, "{what}: {name} is there more than once");
        all.first().map(|text| (*text).to_owned())
    };
    let challenge = field("www-authenticate");
    assert_eq!(challenge.as_deref(), (status == 401).then_some("Bearer"), "{what}");
    assert_eq!(field("cache-control").as_deref(), Some("no-store"), "{what}");
    assert_eq!(field("x-content-type-options").as_deref(), Some("nosniff"), "{what}");
    assert_eq!(field("allow").is_some(), status == 405, "{what}");
    let retry_after = field("retry-after");
    assert_eq!(retry_after.is_some(), matches!(status, 429 | 503), "{what}: {retry_after:?}");
    assert!(retry_after.as_deref().is_none_or(|secs| secs.parse::<u64>().unwrap() > 0), "{what}");
    let origins = usize::from(form == Form::Outcome);
    assert_eq!(headers.get_all("access-control-allow-origin").iter().count(), origins, "{what}");

    let kind = field("content-type").unwrap();
    match form {
        Form::Outcome => {
            assert_eq!(kind, "application/json", "{what}");
            assert_eq!(parsed(&body, what), operation_outcome(status, code, &id), "{what}");
        }
        Form::Problem => {
            assert_eq!(kind, "application/problem+json", "{what}");
            assert_eq!(parsed(&body, what), problem_document(status, code, &id), "{what}");
        }
        Form::Page => {
            assert_eq!(kind, "text/html; charset=utf-8", "{what}");
            assert!(body.starts_with("<!DOCTYPE html>") && body.contains(&id), "{what}: {body}");
            assert!(!body.contains(reason) && !body.contains(code), "{what}: {body}");
        }
    }
    retry_after
}

/// The one line of a request.
pub(crate) fn logged_once(id: &str, what: &str) -> Value {
    let mut lines = lines_of(id);
    assert_eq!(lines.len(), 1, "{what}: {lines:?}");
    lines.remove(0)
}

fn parsed(body: &str, what: &str) -> Value {
    serde_json::from_str(body).unwrap_or_else(|e| panic!("{what}: {e}: {body}"))
}

/// FHIR R4 OperationOutcome with `issue-type` as the value set defines them.
fn operation_outcome(status: u16, code: &str, id: &str) -> Value {
    let issue = match status {
        400 | 413 | 415 => "invalid",
        401 => "login",
        403 => "forbidden",
        404 | 405 => "not-supported",
        408 | 504 => "timeout",
        410 => "not-found",
        429 => "throttled",
        502 => "exception",
        503 => "transient",
        _ => "processing",
    };
    json!({"resourceType": "OperationOutcome", "issue": [{
        "severity": "error", "code": issue, "details": {"coding": [{"code": code}]},
        "diagnostics": format!("request {id}"),
    }]})
}

fn problem_document(status: u16, code: &str, id: &str) -> Value {
    json!({
        "type": "about:blank", "status": status, "code": code, "instance": format!("urn:uuid:{id}"),
        "title": http::StatusCode::from_u16(status).unwrap().canonical_reason(),
    })
}
