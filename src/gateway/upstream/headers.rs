//! Which header fields pass, in either direction.
//!
//! Both directions are built from a list of what may pass. What is not on it does not: hop-by-hop
//! fields, cookies, CORS, and whatever an EHR calls `X-Hookgate-…`, in any spelling.

use http::header::{
    ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, AGE, CACHE_CONTROL, CONNECTION, CONTENT_LANGUAGE,
    CONTENT_TYPE, ETAG, EXPIRES, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, RETRY_AFTER,
    USER_AGENT, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::problem::{Code, KeyPath, Problem};

/// Whether a field may be there more than once.
#[derive(Clone, Copy)]
enum Times {
    Once,
    Any,
}

/// `User-Agent` is on it because services log it and some work around one EHR or another.
const REQUEST: [(HeaderName, Times); 4] = [
    (CONTENT_TYPE, Times::Once),
    (ACCEPT, Times::Any),
    (ACCEPT_LANGUAGE, Times::Any),
    (USER_AGENT, Times::Once),
];

/// Room for what passes and for what the gateway writes beside it, so that the map need not grow.
const USUAL: usize = 24;

/// Only discovery is ever cached.
const CONDITIONS: [(HeaderName, Times); 2] =
    [(IF_NONE_MATCH, Times::Any), (IF_MODIFIED_SINCE, Times::Once)];

/// No `Link`, `Location` or `Content-Location`: they hold addresses that the gateway has not looked at.
/// No `Server` and the like: the upstream's make is nobody's business. No `WWW-Authenticate`: its
/// challenge is for the gateway.
const ANSWER: [(HeaderName, Times); 9] = [
    (CONTENT_TYPE, Times::Once),
    (CONTENT_LANGUAGE, Times::Any),
    (CACHE_CONTROL, Times::Any),
    (VARY, Times::Any),
    (AGE, Times::Once),
    (ETAG, Times::Once),
    (EXPIRES, Times::Once),
    (LAST_MODIFIED, Times::Once),
    (RETRY_AFTER, Times::Once),
];

/// Fields that the gateway writes itself, or that would change how the message is read.
const NEVER: [&str; 22] = [
    "accept-encoding",
    "authorization",
    "connection",
    "content-encoding",
    "content-length",
    "cookie",
    "expect",
    "forwarded",
    "host",
    "http2-settings",
    "keep-alive",
    "origin",
    "proxy-authorization",
    "proxy-connection",
    "range",
    "te",
    "traceparent",
    "tracestate",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-request-id",
];

const NEVER_PREFIXES: [&str; 3] = ["x-hookgate", "x-forwarded", "access-control-"];

/// Field names that the operator lets through beside the usual ones.
#[derive(Debug)]
pub(crate) struct Extra(Vec<HeaderName>);

impl Extra {
    /// Reads the names; every problem is a sentence.
    pub(crate) fn new(names: &[String]) -> Result<Self, Vec<Problem>> {
        let (mut good, mut problems) = (Vec::new(), Vec::new());
        for (index, text) in names.iter().enumerate() {
            let at = KeyPath::of("request_headers").index(index);
            // Many servers take `_` for `-`: judge it the way the most careless would.
            let dashed = text.to_ascii_lowercase().replace('_', "-");
            let reserved = NEVER.contains(&dashed.as_str())
                || NEVER_PREFIXES.iter().any(|prefix| dashed.starts_with(prefix));
            match HeaderName::try_from(text.as_str()) {
                Ok(_) if reserved => problems.push(Problem::error(
                    Code::Conflict,
                    at,
                    format!(
                        "{text:?} is written by the gateway itself or never passed on; remove it"
                    ),
                )),
                Ok(name) => good.push(name),
                Err(_) => {
                    let why = format!("{text:?} is no header name; write one such as \"X-Site\"");
                    problems.push(Problem::error(Code::BadValue, at, why));
                }
            }
        }
        if problems.is_empty() { Ok(Self(good)) } else { Err(problems) }
    }
}

/// What of the EHR's header passes to the upstream.
pub(crate) fn request(inbound: &HeaderMap, discovery: bool, extra: &Extra) -> HeaderMap {
    let mut out = HeaderMap::with_capacity(USUAL);
    let hop = Hop::of(inbound);
    let conditions = if discovery { CONDITIONS.as_slice() } else { &[] };
    for (name, times) in REQUEST.iter().chain(conditions) {
        pass(inbound, &mut out, name, *times, &hop);
    }
    for name in &extra.0 {
        pass(inbound, &mut out, name, Times::Any, &hop);
    }
    out.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    out
}

/// What of the upstream's header passes to the EHR.
pub(crate) fn answer(inbound: &HeaderMap) -> HeaderMap {
    let mut out = HeaderMap::new();
    let hop = Hop::of(inbound);
    for (name, times) in &ANSWER {
        pass(inbound, &mut out, name, *times, &hop);
    }
    out
}

/// The fields that `Connection` names: they are for this hop only (RFC 9110 section 7.6.1).
struct Hop<'a>(Vec<&'a str>);

impl<'a> Hop<'a> {
    fn of(headers: &'a HeaderMap) -> Self {
        let values = headers.get_all(CONNECTION).iter();
        let texts = values.filter_map(|value| value.to_str().ok());
        Self(texts.flat_map(|text| text.split(',')).map(str::trim).collect())
    }

    fn names(&self, name: &HeaderName) -> bool {
        self.0.iter().any(|named| named.eq_ignore_ascii_case(name.as_str()))
    }
}

fn pass(from: &HeaderMap, to: &mut HeaderMap, name: &HeaderName, times: Times, hop: &Hop<'_>) {
    if hop.names(name) {
        return;
    }
    let most = match times {
        Times::Once => 1,
        Times::Any => usize::MAX,
    };
    for value in from.get_all(name).iter().take(most) {
        to.append(name.clone(), value.clone());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_names_cannot_be_let_through() {
        for bad in [
            "X-Hookgate-Client",
            "x_hookgate_client",
            "X-HOOKGATE_TENANT",
            "Host",
            "Content-Length",
            "content_length",
            "Transfer-Encoding",
            "Authorization",
            "Cookie",
            "X-Forwarded-For",
            "x_forwarded_for",
            "Forwarded",
            "traceparent",
            "X-Request-ID",
            "Connection",
            "Expect",
            "a b",
            "",
            "ä",
        ] {
            assert!(Extra::new(&[bad.to_owned()]).is_err(), "{bad}");
        }
        assert!(Extra::new(&["X-Api-Key".to_owned(), "x-site".to_owned()]).is_ok());
    }

    #[test]
    fn conditions_pass_for_discovery_only() {
        let mut inbound = HeaderMap::new();
        inbound.insert(IF_NONE_MATCH, HeaderValue::from_static("\"x\""));
        let extra = Extra(Vec::new());
        assert!(request(&inbound, true, &extra).contains_key(IF_NONE_MATCH));
        assert!(!request(&inbound, false, &extra).contains_key(IF_NONE_MATCH));
    }

    #[test]
    fn what_connection_names_stays_on_its_hop() {
        let mut inbound = HeaderMap::new();
        inbound.append(CONNECTION, HeaderValue::from_static("close, Accept"));
        inbound.append(CONNECTION, HeaderValue::from_static("X-Site"));
        inbound.insert(ACCEPT, HeaderValue::from_static("*/*"));
        inbound.insert("x-site", HeaderValue::from_static("1"));
        inbound.insert(USER_AGENT, HeaderValue::from_static("ehr"));
        let extra = Extra::new(&["X-Site".to_owned()]).unwrap();
        let out = request(&inbound, true, &extra);
        let names: Vec<_> = out.keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["user-agent", "accept-encoding"]);
    }
}
