//! Which way a request wants to go. Everything that is not on this list ends here.

use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, UPGRADE};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, HeaderName, Method, Version};
use url::Url;

use crate::names::ServiceId;

/// A way through the gateway, with what its path names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Way {
    /// `GET /cds-services`
    Discovery,
    /// `POST /cds-services/{id}`
    Hook(ServiceId),
    /// `POST /cds-services/{id}/feedback`
    Feedback(ServiceId),
    /// `POST /cds-services/{id}/analytics/{uuid}`, as the drafts of 2016 to 2018 had it.
    Analytics(ServiceId, String),
    /// `GET`, `HEAD`, `POST /open/{token}`
    Open(String),
    /// `GET /.well-known/jwks.json`
    Jwks,
}

impl Way {
    /// A short name for logs and metrics.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Discovery => "discovery",
            Self::Hook(_) => "hook",
            Self::Feedback(_) => "feedback",
            Self::Analytics(..) => "analytics",
            Self::Open(_) => "open",
            Self::Jwks => "jwks",
        }
    }

    /// The service that the path names.
    pub const fn service(&self) -> Option<&ServiceId> {
        match self {
            Self::Hook(id) | Self::Feedback(id) | Self::Analytics(id, _) => Some(id),
            Self::Discovery | Self::Open(_) | Self::Jwks => None,
        }
    }

    /// Whether EHRs call it, which expect FHIR JSON and may run in a browser.
    pub const fn is_for_ehrs(&self) -> bool {
        match self {
            Self::Discovery | Self::Hook(_) | Self::Feedback(_) | Self::Analytics(..) => true,
            Self::Open(_) | Self::Jwks => false,
        }
    }

    /// The methods it takes, as the `Allow` field lists them.
    pub const fn allow(&self) -> &'static str {
        match self {
            Self::Discovery | Self::Jwks => "GET, HEAD, OPTIONS",
            Self::Hook(_) | Self::Feedback(_) | Self::Analytics(..) => "POST, OPTIONS",
            Self::Open(_) => "GET, HEAD, POST, OPTIONS",
        }
    }

    /// The same, without `OPTIONS`.
    pub fn methods(&self) -> Vec<Method> {
        match self {
            Self::Discovery | Self::Jwks => vec![Method::GET, Method::HEAD],
            Self::Hook(_) | Self::Feedback(_) | Self::Analytics(..) => vec![Method::POST],
            Self::Open(_) => vec![Method::GET, Method::HEAD, Method::POST],
        }
    }

    fn takes(&self, method: &Method) -> bool {
        self.allow().split(", ").any(|allowed| allowed == method.as_str())
    }
}

/// A request that may go on: its framing is unambiguous and its way exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    way: Way,
    preflight: bool,
}

impl Route {
    /// The way.
    pub const fn way(&self) -> &Way {
        &self.way
    }

    /// Whether it is an `OPTIONS` request, which never carries a credential (Fetch standard, 4.8).
    pub const fn is_preflight(&self) -> bool {
        self.preflight
    }
}

/// Why a request goes nowhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// No such path.
    #[error("no such way")]
    NoRoute,
    /// The path exists, the method does not.
    #[error("method not allowed on {}", way.name())]
    Method {
        /// The way that was meant.
        way: Way,
    },
    /// A target, host or field that could be read in two ways.
    #[error("malformed: {0}")]
    Malformed(&'static str),
}

impl RouteError {
    /// The way that was meant, where that can be told.
    pub const fn way(&self) -> Option<&Way> {
        match self {
            Self::Method { way } => Some(way),
            Self::NoRoute | Self::Malformed(_) => None,
        }
    }
}

/// Finds ways below the public URL.
#[derive(Clone, Debug)]
pub struct Router {
    prefix: String,
}

impl Router {
    /// A router for paths below `public_url`.
    pub fn new(public_url: &Url) -> Self {
        Self { prefix: public_url.path().trim_end_matches('/').to_owned() }
    }

    /// Finds the way of a request.
    ///
    /// # Errors
    /// [`RouteError`]; such a request never reaches an upstream.
    pub fn route(&self, request: &Parts) -> Result<Route, RouteError> {
        refuse_ambiguous(request)?;
        let way = self.way(request.uri.path()).ok_or(RouteError::NoRoute)?;
        if !way.takes(&request.method) {
            return Err(RouteError::Method { way });
        }
        Ok(Route { way, preflight: request.method == Method::OPTIONS })
    }

    fn way(&self, path: &str) -> Option<Way> {
        let path = path.strip_prefix(&self.prefix)?.strip_prefix('/')?;
        let mut segments = path.split('/');
        let way = match (segments.next()?, segments.next(), segments.next(), segments.next()) {
            ("cds-services", None, None, None) => Way::Discovery,
            ("cds-services", Some(id), None, None) => Way::Hook(ServiceId::new(id).ok()?),
            ("cds-services", Some(id), Some("feedback"), None) => {
                Way::Feedback(ServiceId::new(id).ok()?)
            }
            ("cds-services", Some(id), Some("analytics"), Some(uuid)) if !uuid.is_empty() => {
                Way::Analytics(ServiceId::new(id).ok()?, uuid.to_owned())
            }
            ("open", Some(token), None, None) if !token.is_empty() => Way::Open(token.to_owned()),
            (".well-known", Some("jwks.json"), None, None) => Way::Jwks,
            _ => return None,
        };
        segments.next().is_none().then_some(way)
    }
}

fn refuse_ambiguous(request: &Parts) -> Result<(), RouteError> {
    if request.method == Method::CONNECT || request.method == Method::TRACE {
        return Err(RouteError::Malformed("target-method"));
    }
    if request.headers.contains_key(UPGRADE) {
        return Err(RouteError::Malformed("upgrade"));
    }
    refuse_repeated(&request.headers, &AUTHORIZATION, "two authorization fields")?;
    refuse_repeated(&request.headers, &CONTENT_TYPE, "two content-type fields")?;
    check_host(request)?;
    check_path(request.uri.path())
}

fn refuse_repeated(
    headers: &HeaderMap,
    name: &HeaderName,
    why: &'static str,
) -> Result<(), RouteError> {
    if headers.get_all(name).iter().nth(1).is_some() {
        return Err(RouteError::Malformed(why));
    }
    Ok(())
}

/// RFC 9112 section 3.2: exactly one Host in HTTP/1.1, equal to the target's authority where the target
/// names one; RFC 9113 section 8.3.1: likewise between `:authority` and Host.
fn check_host(request: &Parts) -> Result<(), RouteError> {
    refuse_repeated(&request.headers, &HOST, "two host fields")?;
    let host = match request.headers.get(HOST) {
        Some(value) => {
            let text = value.to_str().map_err(|_| RouteError::Malformed("host"))?;
            Some(text.parse::<Authority>().map_err(|_| RouteError::Malformed("host"))?)
        }
        None => None,
    };
    let named = request.uri.authority();
    if named.into_iter().chain(&host).any(|authority| authority.as_str().contains('@')) {
        return Err(RouteError::Malformed("host"));
    }
    match (named, &host) {
        (None, None) if request.version == Version::HTTP_10 => Ok(()),
        (None, None) => Err(RouteError::Malformed("host-missing")),
        (Some(target), Some(host)) if !target.as_str().eq_ignore_ascii_case(host.as_str()) => {
            Err(RouteError::Malformed("host-differs"))
        }
        (Some(_), Some(_)) | (Some(_), None) | (None, Some(_)) => Ok(()),
    }
}

/// What two readers could take for two paths is refused, whether or not it would lead somewhere.
fn check_path(path: &str) -> Result<(), RouteError> {
    let malformed = Err(RouteError::Malformed("target"));
    if !path.starts_with('/') || !path.bytes().all(|b| b.is_ascii_graphic()) {
        return malformed;
    }
    if path.contains('\\') || path.contains("//") {
        return malformed;
    }
    let mut rest = path.split('%');
    let _before_the_first = rest.next();
    for escape in rest {
        let Some(code) = escape.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok()) else {
            return malformed;
        };
        // Encoded: slash, backslash, dot, percent, and everything that is no printable ASCII.
        if matches!(code, b'/' | b'\\' | b'.' | b'%') || !code.is_ascii_graphic() {
            return malformed;
        }
    }
    if path.split('/').any(|segment| segment == "." || segment == "..") {
        return malformed;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn parts(method: &str, target: &str, fields: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn route(public: &str, method: &str, path: &str) -> Result<Route, RouteError> {
        let router = Router::new(&Url::parse(public).unwrap());
        router.route(&parts(method, path, &[("host", "cds.example.org")]))
    }

    fn id(text: &str) -> ServiceId {
        ServiceId::new(text).unwrap()
    }

    #[test]
    fn knows_its_ways() {
        for (method, path, way) in [
            ("GET", "/cds-services", Way::Discovery),
            ("HEAD", "/cds-services", Way::Discovery),
            ("POST", "/cds-services/greet", Way::Hook(id("greet"))),
            ("POST", "/cds-services/feedback", Way::Hook(id("feedback"))),
            ("POST", "/cds-services/greet/feedback", Way::Feedback(id("greet"))),
            (
                "POST",
                "/cds-services/greet/analytics/1-2",
                Way::Analytics(id("greet"), "1-2".into()),
            ),
            ("GET", "/open/abc", Way::Open("abc".into())),
            ("HEAD", "/open/abc?launch=1", Way::Open("abc".into())),
            ("POST", "/open/abc", Way::Open("abc".into())),
            ("GET", "/.well-known/jwks.json", Way::Jwks),
        ] {
            for public in ["https://cds.example.org", "https://cds.example.org/a/b/"] {
                let below =
                    format!("{}{path}", Url::parse(public).unwrap().path().trim_end_matches('/'));
                let found =
                    route(public, method, &below).unwrap_or_else(|e| panic!("{below}: {e}"));
                assert_eq!(found.way(), &way);
                assert!(!found.is_preflight());
            }
        }
        assert!(route("https://x.org", "OPTIONS", "/cds-services/a").unwrap().is_preflight());
    }

    #[test]
    fn everything_else_leads_nowhere() {
        for path in [
            "/",
            "/cds-services/",
            "/cds-services/a/",
            "/cds-services/a/b",
            "/open",
            "/open/",
            "/open/a/b",
            "/admin",
            "/metrics",
            "/cds-services/a/feedback/x",
            "/CDS-services",
            "/cds-services/a/analytics",
            "/cds-services/a/analytics/",
            "/cds-services/a/analytics/b/c",
            "/cds-services/a%20b",
            "/cds-services/%61",
        ] {
            let found = route("https://x.org", "POST", path);
            assert!(matches!(found, Err(RouteError::NoRoute | RouteError::Malformed(_))), "{path}");
        }
        assert_eq!(route("https://x.org/base", "GET", "/cds-services"), Err(RouteError::NoRoute));
        assert_eq!(
            route("https://x.org/base", "GET", "/basecds-services"),
            Err(RouteError::NoRoute)
        );
    }

    #[test]
    fn methods_are_told_by_way() {
        for (method, path) in [
            ("POST", "/cds-services"),
            ("GET", "/cds-services/a"),
            ("PUT", "/open/x"),
            ("GET", "/cds-services/a/feedback"),
            ("DELETE", "/.well-known/jwks.json"),
        ] {
            let found = route("https://x.org", method, path);
            assert!(matches!(found, Err(RouteError::Method { .. })), "{method} {path}: {found:?}");
        }
    }

    #[test]
    fn ambiguous_targets_are_malformed() {
        for path in [
            "/cds-services//a",
            "//cds-services",
            "/a/../cds-services",
            "/cds-services/./a",
            "/cds-services/a%2Fb",
            "/cds-services/a%2fb",
            "/cds-services/a%5cb",
            "/cds-services/%2e%2e",
            "/cds-services/.%2E",
            "/cds-services/a%00",
            "/cds-services/a%0d%0a",
            "/cds-services/a%",
            "/cds-services/a%2",
            "/cds-services/a%zz",
            "/cds-services/a%252f",
            "/cds-services/a%c3%a4",
        ] {
            let found = route("https://x.org", "POST", path);
            assert!(matches!(found, Err(RouteError::Malformed(_))), "{path}: {found:?}");
        }
    }

    #[test]
    fn ambiguous_heads_are_malformed() {
        let router = Router::new(&Url::parse("https://x.org").unwrap());
        let host = ("host", "x.org");
        for (target, fields) in [
            ("/cds-services", vec![]),
            ("/cds-services", vec![host, ("host", "y.org")]),
            ("/cds-services", vec![("host", "a@x.org")]),
            ("/cds-services", vec![("host", "x org")]),
            ("http://y.org/cds-services", vec![host]),
            ("/cds-services", vec![host, ("authorization", "a"), ("authorization", "b")]),
            ("/cds-services", vec![host, ("content-type", "a/b"), ("content-type", "a/b")]),
            ("/cds-services", vec![host, ("upgrade", "h2c")]),
        ] {
            let found = router.route(&parts("GET", target, &fields));
            assert!(matches!(found, Err(RouteError::Malformed(_))), "{target} {fields:?}");
        }
        let same = router.route(&parts("GET", "http://X.org/cds-services", &[host]));
        assert!(same.is_ok(), "{same:?}");
        for method in ["CONNECT", "TRACE"] {
            let found = router.route(&parts(method, "/cds-services", &[host]));
            assert!(matches!(found, Err(RouteError::Malformed(_))), "{method}");
        }
        let found = router.route(&parts("OPTIONS", "*", &[host]));
        assert!(matches!(found, Err(RouteError::Malformed(_))), "{found:?}");
    }
}
