//! The answers that are given at the door, before anyone knows what was asked.

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use http_body_util::Full;

use crate::doors::fault::Fault;

/// Refuses a request for its framing; which fault it was stays inside.
pub(crate) fn refused(fault: Fault) -> Response<Full<Bytes>> {
    last(match fault.status() {
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => problem(
            fault.status(),
            r#"{"title":"Request Header Fields Too Large","status":431,"code":"malformed"}"#,
        ),
        StatusCode::URI_TOO_LONG => {
            problem(fault.status(), r#"{"title":"URI Too Long","status":414,"code":"malformed"}"#)
        }
        StatusCode::REQUEST_TIMEOUT => {
            problem(fault.status(), r#"{"title":"Request Timeout","status":408,"code":"timeout"}"#)
        }
        _ => problem(
            StatusCode::BAD_REQUEST,
            r#"{"title":"Bad Request","status":400,"code":"malformed"}"#,
        ),
    })
}

/// Stands in for the answer of a handler that panicked.
pub(crate) fn broken() -> Response<Full<Bytes>> {
    problem(
        StatusCode::INTERNAL_SERVER_ERROR,
        r#"{"title":"Internal Server Error","status":500,"code":"internal"}"#,
    )
}

/// Says that the connection ends with this answer (HTTP/1 only: RFC 9113 section 8.2.2).
pub(crate) fn last(mut answer: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
    answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    answer
}

/// RFC 9457.
fn problem(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(Bytes::from_static(text.as_bytes())));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}
