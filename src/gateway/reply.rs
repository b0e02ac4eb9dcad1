//! What goes out where the answer is the gateway's own.

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;
use serde_json::json;

use crate::names::RequestId;

/// Every answer's body is whole in memory: only whole answers can be checked.
pub type Reply = Response<Full<Bytes>>;

/// Who reads a refusal, and hence in which form it goes out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// An EHR expects FHIR JSON: an OperationOutcome (CDS Hooks 3.0, HTTP status codes).
    Ehr,
    /// A clinician expects a page.
    Browser,
    /// Anybody else: RFC 9457.
    Other,
}

/// All that the caller may learn of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Public {
    /// The status.
    pub status: StatusCode,
    /// The stable code.
    pub code: &'static str,
    /// After how many seconds a new attempt makes sense.
    pub retry_after: Option<u64>,
    /// The methods that are allowed instead.
    pub allow: Option<&'static str>,
}

impl Public {
    /// A refusal that says no more than its status and code.
    pub const fn new(status: StatusCode, code: &'static str) -> Self {
        Self { status, code, retry_after: None, allow: None }
    }

    /// The same, with a time after which a new attempt makes sense.
    #[must_use]
    pub const fn retry_after(self, seconds: u64) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    /// Adds the fields that belong to this refusal.
    pub fn add_fields<B>(&self, reply: &mut Response<B>) {
        let headers = reply.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(allow) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
    }

    /// An OperationOutcome with the code and the request's id, and nothing else.
    pub fn outcome(&self, id: RequestId) -> Reply {
        let body = json!({
            "resourceType": "OperationOutcome",
            "issue": [{
                "severity": "error",
                "code": self.issue_type(),
                "details": {"coding": [{"code": self.code}]},
                "diagnostics": format!("request {id}"),
            }],
        });
        self.with_body("application/json", body.to_string())
    }

    /// A problem document (RFC 9457) with the code and the request's id, and nothing else.
    pub fn problem(&self, id: RequestId) -> Reply {
        let body = json!({
            "type": "about:blank",
            "title": self.status.canonical_reason(),
            "status": self.status.as_u16(),
            "code": self.code,
            "instance": format!("urn:uuid:{id}"),
        });
        self.with_body("application/problem+json", body.to_string())
    }

    fn with_body(&self, content_type: &'static str, body: String) -> Reply {
        let mut reply = Response::new(Full::new(Bytes::from(body)));
        *reply.status_mut() = self.status;
        reply.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        self.add_fields(&mut reply);
        reply
    }

    /// FHIR R4 `issue-type`.
    fn issue_type(&self) -> &'static str {
        match self.status.as_u16() {
            401 => "login",
            403 => "forbidden",
            404 | 405 => "not-supported",
            400 | 413 | 415 => "invalid",
            410 => "not-found",
            408 | 504 => "timeout",
            429 => "throttled",
            502 => "exception",
            503 => "transient",
            _ => "processing",
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use serde_json::Value;

    use super::*;
    use crate::clock::UnixTime;
    use crate::entropy::SeededEntropy;

    async fn body(reply: Reply) -> Value {
        serde_json::from_slice(&reply.into_body().collect().await.unwrap().to_bytes()).unwrap()
    }

    #[tokio::test]
    async fn tells_the_code_the_id_and_nothing_else() {
        let id = RequestId::new(UnixTime::from_secs(1), &SeededEntropy::new(1)).unwrap();
        let public = Public::new(StatusCode::UNAUTHORIZED, "unauthorized");
        let reply = public.outcome(id);
        assert_eq!(reply.headers()[WWW_AUTHENTICATE], "Bearer");
        let outcome = body(reply).await;
        assert_eq!(
            outcome,
            json!({"resourceType": "OperationOutcome", "issue": [{
                "severity": "error", "code": "login",
                "details": {"coding": [{"code": "unauthorized"}]},
                "diagnostics": format!("request {id}"),
            }]})
        );
        let limited = Public::new(StatusCode::TOO_MANY_REQUESTS, "limited").retry_after(7);
        let reply = limited.problem(id);
        assert_eq!(reply.headers()[RETRY_AFTER], "7");
        assert_eq!(body(reply).await["code"], "limited");
    }
}
