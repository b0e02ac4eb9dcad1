//! Cross-origin access for EHRs that run in a browser.
//!
//! The gateway alone speaks CORS (Fetch standard, section 3.2): what an upstream says about it is
//! removed, and an answer carries `Access-Control-Allow-Origin` once or not at all. A doubled one makes
//! browsers drop the cards. Refusals carry it too, or the EHR could not read why it was refused.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ALLOW,
    VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::problem::{Code, KeyPath, Problem, Problems};
use crate::units::Period;

/// What a browser may send without the operator naming it.
const REQUEST_HEADERS: &str = "Authorization, Content-Type, Accept, Accept-Language, \
     If-None-Match, traceparent, tracestate, X-Request-Id";

/// What a script may read of an answer.
const ANSWER_HEADERS: HeaderValue =
    HeaderValue::from_static("ETag, Expires, Retry-After, X-Request-Id");

/// A browser keeps a preflight's answer for a day at most (Firefox) or two hours (Chromium).
const LONGEST_MAX_AGE_SECS: u64 = 86_400;

/// `[cors]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Who may read answers in a browser: `["*"]`, or exact origins such as
    /// `["https://ehr.example.org"]`. The default is everybody: calls carry a bearer token that a page
    /// must hold itself, and no cookie, so another page gains nothing by being able to read. `"null"`
    /// stands for pages without an origin (sandboxed frames, files); as anybody can make one, naming
    /// it in a list allows everybody. `[]` allows none.
    pub origins: Vec<String>,
    /// Header names that a page may send beside the usual ones.
    pub headers: Vec<String>,
    /// How long a browser may remember a preflight's answer; at most a day.
    pub max_age: Period,
}

impl Default for Settings {
    fn default() -> Self {
        Self { origins: vec!["*".to_owned()], headers: Vec::new(), max_age: Period::secs(600) }
    }
}

#[derive(Debug)]
enum Origins {
    Any,
    /// As a browser writes them: ASCII, no trailing slash, no default port.
    Listed(Vec<HeaderValue>),
}

/// Who may read answers in a browser.
#[derive(Debug)]
pub struct Cors {
    origins: Origins,
    request_headers: HeaderValue,
    max_age: HeaderValue,
}

impl Cors {
    /// Reads the settings.
    ///
    /// # Errors
    /// [`Problems`] names every origin and header that is none.
    pub fn new(settings: &Settings) -> Result<Self, Problems> {
        let mut problems = Vec::new();
        let origins = if settings.origins.iter().any(|origin| origin == "*") {
            if settings.origins.len() > 1 {
                problems.push(Problem::said(
                    Code::Conflict,
                    "cors.origins has \"*\" beside others; write [\"*\"] or a list",
                ));
            }
            Origins::Any
        } else {
            let mut read = |(index, text): (usize, &String)| {
                let at = KeyPath::of("cors.origins").index(index);
                let wrong = |why| problems.push(Problem::error(Code::BadValue, at, why));
                origin(text).map_err(wrong).ok()
            };
            Origins::Listed(settings.origins.iter().enumerate().filter_map(&mut read).collect())
        };
        let mut names = vec![REQUEST_HEADERS.to_owned()];
        for (index, name) in settings.headers.iter().enumerate() {
            match HeaderName::try_from(name.as_str()) {
                Ok(_) => names.push(name.clone()),
                Err(_) => {
                    let at = KeyPath::of("cors.headers").index(index);
                    let why = format!("{name:?} is no header name; write one such as \"X-Site\"");
                    problems.push(Problem::error(Code::BadValue, at, why));
                }
            }
        }
        let secs = settings.max_age.get().as_secs();
        if secs > LONGEST_MAX_AGE_SECS {
            let why = format!(
                "cors.max_age is {}; browsers remember a day at most, write up to \"24h\"",
                settings.max_age
            );
            problems.push(Problem::said(Code::OutOfRange, why));
        }
        match HeaderValue::try_from(names.join(", ")) {
            Ok(request_headers) if problems.is_empty() => {
                Ok(Self { origins, request_headers, max_age: HeaderValue::from(secs) })
            }
            Ok(_) | Err(_) => Err(Problems(problems)),
        }
    }

    /// The answer to `OPTIONS` (Fetch standard, section 4.8): needs no credential, ever, because a
    /// browser sends none with a preflight. `methods` are those of the way that was asked for.
    pub fn preflight(&self, request: &HeaderMap, methods: &[Method]) -> (StatusCode, HeaderMap) {
        let mut headers = HeaderMap::new();
        let names: Vec<&str> =
            methods.iter().map(Method::as_str).chain(std::iter::once("OPTIONS")).collect();
        if let Ok(allowed) = HeaderValue::try_from(names.join(", ")) {
            headers.insert(ALLOW, allowed.clone());
            headers.insert(ACCESS_CONTROL_ALLOW_METHODS, allowed);
        }
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, self.request_headers.clone());
        headers.insert(ACCESS_CONTROL_MAX_AGE, self.max_age.clone());
        self.allow_origin(&mut headers, request);
        headers.append(
            VARY,
            HeaderValue::from_static(
                "Access-Control-Request-Method, Access-Control-Request-Headers",
            ),
        );
        if !headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) {
            // A page that may not read may not send either.
            for name in
                [ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_MAX_AGE]
            {
                headers.remove(name);
            }
        }
        (StatusCode::NO_CONTENT, headers)
    }

    /// Puts the gateway's CORS headers on an answer or refusal, instead of any that are there.
    pub fn decorate(&self, answer: &mut HeaderMap, request: &HeaderMap) {
        for name in [
            ACCESS_CONTROL_ALLOW_ORIGIN,
            ACCESS_CONTROL_ALLOW_CREDENTIALS,
            ACCESS_CONTROL_ALLOW_METHODS,
            ACCESS_CONTROL_ALLOW_HEADERS,
            ACCESS_CONTROL_EXPOSE_HEADERS,
            ACCESS_CONTROL_MAX_AGE,
        ] {
            answer.remove(name);
        }
        self.allow_origin(answer, request);
        if answer.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) {
            answer.insert(ACCESS_CONTROL_EXPOSE_HEADERS, ANSWER_HEADERS);
        }
    }

    fn allow_origin(&self, answer: &mut HeaderMap, request: &HeaderMap) {
        match &self.origins {
            Origins::Any => {
                answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
            }
            Origins::Listed(listed) => {
                // Also where no origin is allowed: another one's answer may be.
                vary_by_origin(answer);
                let mut sent = request.get_all(http::header::ORIGIN).iter();
                if let (Some(origin), None) = (sent.next(), sent.next())
                    && listed.contains(origin)
                {
                    answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
                }
            }
        }
    }
}

fn vary_by_origin(answer: &mut HeaderMap) {
    let said = answer.get_all(VARY).iter().filter_map(|value| value.to_str().ok()).any(|value| {
        value
            .split(',')
            .map(str::trim)
            .any(|name| name == "*" || name.eq_ignore_ascii_case("origin"))
    });
    if !said {
        answer.append(VARY, HeaderValue::from_static("Origin"));
    }
}

/// Reads an origin as a browser writes it (RFC 6454 section 6.2).
fn origin(text: &str) -> Result<HeaderValue, String> {
    if text == "null" {
        return Ok(HeaderValue::from_static("null"));
    }
    let written = Url::parse(text)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https"))
        .map(|url| url.origin().ascii_serialization());
    match written {
        Some(written) if written == text => HeaderValue::try_from(written)
            .map_err(|_| format!("{text:?} can stand in no header; write it as browsers send it")),
        Some(written) => Err(format!("browsers do not send {text:?}; write {written:?}")),
        None => Err(format!("{text:?} is no origin; write \"https://ehr.example.org\"")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cors(origins: &[&str]) -> Cors {
        let origins = origins.iter().map(|o| (*o).to_owned()).collect();
        Cors::new(&Settings { origins, ..Settings::default() }).unwrap()
    }

    fn from(origins: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for origin in origins {
            headers.append(http::header::ORIGIN, HeaderValue::from_static(origin));
        }
        headers
    }

    fn all<'a>(headers: &'a HeaderMap, name: &str) -> Vec<&'a str> {
        headers.get_all(name).iter().map(|value| value.to_str().unwrap()).collect()
    }

    const EHR: &str = "https://ehr.example.org";

    #[test]
    fn allows_who_is_listed_and_nobody_who_looks_alike() {
        let table: [(&[&str], &[&'static str], &[&str]); 16] = [
            (&["*"], &[EHR], &["*"]),
            (&["*"], &[], &["*"]),
            (&["*"], &["null"], &["*"]),
            (&[EHR], &[EHR], &[EHR]),
            (&["https://a.example", EHR], &[EHR], &[EHR]),
            (&[EHR], &[], &[]),
            (&[EHR], &["null"], &[]),
            (&["null"], &["null"], &["null"]),
            (&["null"], &[EHR], &[]),
            (&[EHR], &["http://ehr.example.org"], &[]),
            (&[EHR], &["https://ehr.example.org:8443"], &[]),
            (&[EHR], &["https://ehr.example.org.evil.example"], &[]),
            (&[EHR], &["https://EHR.example.org"], &[]),
            (&[EHR], &["https://evil.example/https://ehr.example.org"], &[]),
            (&[EHR], &[EHR, "https://evil.example"], &[]),
            (&[], &[EHR], &[]),
        ];
        for (listed, sent, expected) in table {
            let mut answer = HeaderMap::new();
            cors(listed).decorate(&mut answer, &from(sent));
            assert_eq!(
                all(&answer, "access-control-allow-origin"),
                expected,
                "{listed:?} {sent:?}"
            );
            let varies = all(&answer, "vary") == ["Origin"];
            assert_eq!(varies, listed != ["*"], "{listed:?}");
            assert_eq!(answer.contains_key("access-control-expose-headers"), !expected.is_empty());
        }
    }

    #[test]
    fn replaces_what_the_upstream_said() {
        let mut answer = HeaderMap::new();
        for name in [
            "access-control-allow-origin",
            "access-control-allow-credentials",
            "access-control-allow-headers",
            "access-control-allow-methods",
            "access-control-expose-headers",
            "access-control-max-age",
        ] {
            answer.append(HeaderName::from_static(name), HeaderValue::from_static("upstream"));
            answer.append(HeaderName::from_static(name), HeaderValue::from_static("twice"));
        }
        cors(&["*"]).decorate(&mut answer, &from(&[EHR]));
        let mut left: Vec<_> = answer.iter().map(|(n, v)| (n.as_str(), v.clone())).collect();
        left.sort_by_key(|(name, _)| *name);
        assert_eq!(
            left,
            [
                ("access-control-allow-origin", HeaderValue::from_static("*")),
                ("access-control-expose-headers", ANSWER_HEADERS),
            ]
        );
    }

    #[test]
    fn says_vary_once_beside_what_else_varies() {
        for (there, after) in [
            ("Accept-Language", vec!["Accept-Language", "Origin"]),
            ("accept, ORIGIN", vec!["accept, ORIGIN"]),
            ("*", vec!["*"]),
            ("X-Original", vec!["X-Original", "Origin"]),
        ] {
            let mut answer = HeaderMap::new();
            answer.insert(VARY, HeaderValue::from_static(there));
            let cors = cors(&[EHR]);
            cors.decorate(&mut answer, &from(&[EHR]));
            cors.decorate(&mut answer, &from(&[EHR]));
            assert_eq!(all(&answer, "vary"), after);
        }
    }

    #[test]
    fn answers_a_preflight() {
        let mut request = from(&[EHR]);
        request.insert("access-control-request-method", HeaderValue::from_static("POST"));
        let (status, headers) = cors(&["*"]).preflight(&request, &[Method::POST]);
        assert_eq!(status, StatusCode::NO_CONTENT);
        assert_eq!(all(&headers, "access-control-allow-origin"), ["*"]);
        assert_eq!(all(&headers, "access-control-allow-methods"), ["POST, OPTIONS"]);
        assert_eq!(all(&headers, "access-control-max-age"), ["600"]);
        assert_eq!(all(&headers, "allow"), ["POST, OPTIONS"]);
        assert!(!headers.contains_key("access-control-allow-credentials"));
        let allowed = all(&headers, "access-control-allow-headers")[0].to_ascii_lowercase();
        for name in ["authorization", "content-type"] {
            assert!(allowed.split(", ").any(|allowed| allowed == name), "{name}");
        }
    }

    #[test]
    fn a_stranger_is_told_nothing_in_a_preflight() {
        let (status, headers) =
            cors(&[EHR]).preflight(&from(&["https://evil.example"]), &[Method::GET]);
        assert_eq!(status, StatusCode::NO_CONTENT);
        assert!(headers.keys().all(|name| !name.as_str().starts_with("access-control")));
        assert_eq!(all(&headers, "vary")[0], "Origin");
    }

    #[test]
    fn names_every_problem() {
        let settings = Settings {
            origins: [
                "https://a.example/",
                "https://B.example",
                "https://c.example:443",
                "d.example",
                "ftp://e.example",
                "https://f.example/path",
                "",
            ]
            .map(str::to_owned)
            .to_vec(),
            headers: vec!["X Y".to_owned()],
            max_age: Period::secs(86_401),
        };
        let error = Cors::new(&settings).unwrap_err();
        assert_eq!(error.0.len(), 9, "{error}");
        assert_eq!(
            error.0[0].to_string(),
            "cors.origins[0]: browsers do not send \"https://a.example/\"; write \"https://a.example\""
        );
        let mixed = ["*", EHR].map(str::to_owned).to_vec();
        assert!(Cors::new(&Settings { origins: mixed, ..Settings::default() }).is_err());
    }

    #[test]
    fn reads_from_toml() {
        let settings: Settings = toml::from_str("headers = [\"X-Site\"]\n").unwrap();
        let (_, headers) =
            Cors::new(&settings).unwrap().preflight(&HeaderMap::new(), &[Method::GET]);
        assert!(all(&headers, "access-control-allow-headers")[0].ends_with(", X-Site"));
        assert!(toml::from_str::<Settings>("origin = [\"*\"]").is_err());
    }
}
