//! What an upstream answered, made fit to be passed on.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LANGUAGE, CONTENT_TYPE, ETAG, LAST_MODIFIED};
use http::{HeaderMap, HeaderValue, StatusCode};
use mime::Mime;
use serde::de::IgnoredAny;

use crate::gateway::upstream::decode::decode;
use crate::gateway::upstream::error::UpstreamError;
use crate::gateway::upstream::headers;
use crate::gateway::upstream::settings::UpstreamErrors;

/// An upstream's answer: its status, the headers that may pass, and its whole body, decoded and
/// within the cap. A redirect never becomes one.
#[derive(Clone, PartialEq, Eq)]
pub struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
    masked: bool,
    upstream_time: Duration,
}

/// Without the body, which is about a patient.
impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Answer")
            .field("status", &self.status)
            .field("bytes", &self.body.len())
            .field("masked", &self.masked)
            .finish_non_exhaustive()
    }
}

impl Answer {
    /// The upstream's own status: 2xx, 4xx, 5xx, or 304 to a conditional discovery.
    pub const fn status(&self) -> StatusCode {
        self.status
    }

    /// What of its headers may pass. Lengths, connections, CORS and encodings are not among them.
    pub const fn headers(&self) -> &HeaderMap {
        &self.headers
    }

    /// The body; empty where it was masked.
    pub const fn body(&self) -> &Bytes {
        &self.body
    }

    /// Whether a body was left out because it is the upstream's description of an error. Something
    /// that gives nothing away should stand in its place.
    pub const fn masked(&self) -> bool {
        self.masked
    }

    /// The entity tag, where the body is what the upstream tagged.
    pub fn etag(&self) -> Option<&HeaderValue> {
        self.headers.get(ETAG)
    }

    /// How long the upstream took.
    pub const fn upstream_time(&self) -> Duration {
        self.upstream_time
    }

    /// Status, headers and body, to be passed on or rewritten.
    pub fn into_parts(self) -> (StatusCode, HeaderMap, Bytes) {
        (self.status, self.headers, self.body)
    }
}

/// What an answer is measured by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Measure {
    pub(crate) cap: usize,
    pub(crate) errors: UpstreamErrors,
    /// The request was a discovery with a condition: 304 is an answer to it.
    pub(crate) conditional: bool,
}

/// Refuses by the head what no body can make good.
pub(crate) fn judge(status: StatusCode, measure: Measure) -> Result<(), UpstreamError> {
    if status == StatusCode::NOT_MODIFIED && measure.conditional {
        return Ok(());
    }
    if status.is_redirection() {
        return Err(UpstreamError::Redirect(status));
    }
    if status.is_informational() || status.as_u16() >= 600 {
        return Err(UpstreamError::NotHttp(format!("status {}", status.as_u16())));
    }
    Ok(())
}

/// Makes an answer of what came over the wire.
pub(crate) async fn accept(
    status: StatusCode,
    inbound: &HeaderMap,
    body: Bytes,
    measure: Measure,
    upstream_time: Duration,
) -> Result<Answer, UpstreamError> {
    judge(status, measure)?;
    let mut headers = headers::answer(inbound);
    let failed = status.is_client_error() || status.is_server_error();
    // A masked body is not even unpacked.
    if failed && measure.errors == UpstreamErrors::Mask {
        return Ok(mask(status, headers, &body, upstream_time));
    }
    let decoded = decode(inbound, body, measure.cap).await?;
    if failed && !is_json(&headers, &decoded.body) {
        return Ok(mask(status, headers, &decoded.body, upstream_time));
    }
    if decoded.changed {
        headers.remove(ETAG);
    }
    Ok(Answer { status, headers, body: decoded.body, masked: false, upstream_time })
}

fn mask(
    status: StatusCode,
    mut headers: HeaderMap,
    body: &Bytes,
    upstream_time: Duration,
) -> Answer {
    for name in [CONTENT_TYPE, CONTENT_LANGUAGE, ETAG, LAST_MODIFIED] {
        headers.remove(name);
    }
    Answer { status, headers, body: Bytes::new(), masked: !body.is_empty(), upstream_time }
}

/// Both by its label and by what it is.
fn is_json(headers: &HeaderMap, body: &[u8]) -> bool {
    let label = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let labelled = label
        .and_then(|text| text.parse::<Mime>().ok())
        .is_some_and(|mime| mime.subtype() == mime::JSON || mime.suffix() == Some(mime::JSON));
    labelled && serde_json::from_slice::<IgnoredAny>(body).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MASK: Measure = Measure { cap: 1000, errors: UpstreamErrors::Mask, conditional: false };
    const PASS: Measure = Measure { errors: UpstreamErrors::Pass, ..MASK };

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_static(value));
        }
        headers
    }

    async fn accepted(
        status: u16,
        lines: &[(&'static str, &'static str)],
        body: &'static str,
        measure: Measure,
    ) -> Result<Answer, UpstreamError> {
        let status = StatusCode::from_u16(status).unwrap();
        let body = Bytes::from_static(body.as_bytes());
        accept(status, &headers(lines), body, measure, Duration::ZERO).await
    }

    #[tokio::test]
    async fn errors_are_masked_or_pass_as_json() {
        let json = ("content-type", "application/fhir+json; charset=utf-8");
        let plain = ("content-type", "text/html");
        let outcome = "{\"resourceType\":\"OperationOutcome\"}";
        let trace = "<pre>at /srv/index.js</pre>";
        for (measure, label, body, passes) in [
            (MASK, json, outcome, false),
            (MASK, plain, trace, false),
            (PASS, json, outcome, true),
            (PASS, ("content-type", "application/json"), outcome, true),
            (PASS, plain, trace, false),
            (PASS, json, trace, false),
            (PASS, plain, outcome, false),
            (PASS, ("x-none", ""), outcome, false),
            (PASS, ("content-type", "application/jsonp"), outcome, false),
        ] {
            for status in [400, 401, 404, 412, 422, 500, 503, 599] {
                let answer = accepted(
                    status,
                    &[label, ("etag", "\"x\""), ("retry-after", "7")],
                    body,
                    measure,
                )
                .await
                .unwrap();
                assert_eq!(answer.status().as_u16(), status);
                assert_eq!(answer.masked(), !passes, "{measure:?} {label:?} {body}");
                assert_eq!(answer.body().as_ref(), if passes { body.as_bytes() } else { b"" });
                assert_eq!(answer.headers().contains_key(CONTENT_TYPE), passes);
                assert_eq!(answer.headers()["retry-after"], "7");
            }
        }
    }

    #[tokio::test]
    async fn an_error_without_a_body_has_nothing_to_mask() {
        assert!(!accepted(412, &[], "", MASK).await.unwrap().masked());
    }

    #[tokio::test]
    async fn statuses() {
        for status in [200, 201, 202, 204, 206, 299] {
            assert_eq!(accepted(status, &[], "", MASK).await.unwrap().status().as_u16(), status);
        }
        for status in [300, 301, 302, 303, 304, 305, 307, 308, 399] {
            let refused = accepted(status, &[], "", MASK).await;
            assert!(matches!(refused, Err(UpstreamError::Redirect(s)) if s.as_u16() == status));
        }
        let conditional = Measure { conditional: true, ..MASK };
        assert!(accepted(304, &[], "", conditional).await.is_ok());
        assert!(accepted(302, &[], "", conditional).await.is_err());
        for status in [100, 101, 103, 600, 999] {
            let refused = accepted(status, &[], "", MASK).await;
            assert!(matches!(refused, Err(UpstreamError::NotHttp(_))), "{status}");
        }
    }

    #[test]
    fn debug_shows_no_body() {
        let answer = Answer {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: Bytes::from_static(b"Mrs Smith"),
            masked: false,
            upstream_time: Duration::ZERO,
        };
        assert!(!format!("{answer:?}").contains("Smith"));
    }
}
