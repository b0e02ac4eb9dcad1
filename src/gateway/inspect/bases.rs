//! A client's registered FHIR bases, and whether an address lies under one of them.
//!
//! The address is for the service, whose HTTP library we do not know. So an address on which libraries
//! differ (dot segments, encoded slashes, backslashes, userinfo) is refused as it is written, before
//! anything is normalised.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

/// Why an address is not one under a registered base. Never says which address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Blanks, control characters or backslashes, which parsers remove or turn into slashes.
    Characters,
    /// No absolute URL with an authority.
    NotAUrl,
    /// A user name or password before the host.
    UserInfo,
    /// A `.` or `..` segment, also percent-encoded.
    DotSegment,
    /// `%2f` or `%5c` in the path.
    EncodedSlash,
    /// A query or fragment where a base URL must stand.
    Query,
    /// Another scheme, host, port or path than any registered base.
    Unregistered,
}

impl Reason {
    /// A stable word for log and audit.
    pub const fn code(self) -> &'static str {
        match self {
            Self::Characters => "characters",
            Self::NotAUrl => "not-a-url",
            Self::UserInfo => "userinfo",
            Self::DotSegment => "dot-segment",
            Self::EncodedSlash => "encoded-slash",
            Self::Query => "query",
            Self::Unregistered => "unregistered",
        }
    }
}

/// Why a text in the configuration is no FHIR base.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no FHIR base URL; write \"https://ehr.example/fhir\", without user, query or fragment"
)]
pub struct BadBase(String);

/// The base URL of a FHIR server (FHIR R4 3.1.0.1.2 "Service Base URL"), http or https.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = "^https?://[^?#@]+$"))]
pub struct FhirBase {
    written: String,
    url: Url,
}

impl FhirBase {
    /// Parses a base URL. A slash at its end means nothing.
    ///
    /// # Errors
    /// [`BadBase`] where another library could understand it differently.
    pub fn new(written: &str) -> Result<Self, BadBase> {
        let bad = || BadBase(written.to_owned());
        let url = parse(written).map_err(|_| bad())?;
        if !matches!(url.scheme(), "http" | "https") || has_query(&url) {
            return Err(bad());
        }
        Ok(Self { written: written.to_owned(), url })
    }

    /// Whether `url` has the same scheme, host and port, and this base's path as its first segments.
    fn covers(&self, url: &Url) -> bool {
        let base = self.url.path().trim_end_matches('/');
        self.url.scheme() == url.scheme()
            && self.url.host() == url.host()
            && self.url.port_or_known_default() == url.port_or_known_default()
            && url
                .path()
                .strip_prefix(base)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl TryFrom<String> for FhirBase {
    type Error = BadBase;

    fn try_from(text: String) -> Result<Self, BadBase> {
        Self::new(&text)
    }
}

impl From<FhirBase> for String {
    fn from(base: FhirBase) -> Self {
        base.written
    }
}

impl fmt::Debug for FhirBase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.written, f)
    }
}

/// Checks a request's `fhirServer`: a base URL at or below a registered one.
///
/// # Errors
/// [`Reason`]
pub fn check_server(bases: &[FhirBase], address: &str) -> Result<(), Reason> {
    if bases.iter().any(|base| base.written == address) {
        return Ok(());
    }
    let url = parse(address)?;
    if has_query(&url) {
        return Err(Reason::Query);
    }
    covered(bases, &url)
}

/// Checks a `Bundle.link.url` (FHIR R4 3.1.1.4 "Paging"): the address of another page. A relative one
/// can only lead below `fhirServer`, which is checked by itself.
///
/// # Errors
/// [`Reason`]
pub fn check_page(bases: &[FhirBase], address: &str) -> Result<(), Reason> {
    if is_relative(address) {
        return Ok(());
    }
    covered(bases, &parse(address)?)
}

fn covered(bases: &[FhirBase], url: &Url) -> Result<(), Reason> {
    if bases.iter().any(|base| base.covers(url)) { Ok(()) } else { Err(Reason::Unregistered) }
}

fn has_query(url: &Url) -> bool {
    url.query().is_some() || url.fragment().is_some()
}

/// Has neither a scheme nor, in any reading, an authority.
fn is_relative(address: &str) -> bool {
    !address.starts_with("//")
        && !address.starts_with(char::is_whitespace)
        && !address.contains(|c: char| c.is_control() || c == '\\')
        && Url::parse(address) == Err(url::ParseError::RelativeUrlWithoutBase)
}

fn parse(address: &str) -> Result<Url, Reason> {
    if address.contains(|c: char| c.is_control() || c.is_whitespace() || c == '\\') {
        return Err(Reason::Characters);
    }
    let (_, rest) = address.split_once("://").ok_or(Reason::NotAUrl)?;
    let hierarchy = rest.split(['?', '#']).next().unwrap_or_default();
    let (authority, path) = hierarchy.split_once('/').unwrap_or((hierarchy, ""));
    if authority.is_empty() {
        return Err(Reason::NotAUrl);
    }
    if authority.contains('@') {
        return Err(Reason::UserInfo);
    }
    let path = path.to_ascii_lowercase();
    if path.contains("%2f") || path.contains("%5c") {
        return Err(Reason::EncodedSlash);
    }
    if path.split('/').any(|segment| matches!(segment.replace("%2e", ".").as_str(), "." | "..")) {
        return Err(Reason::DotSegment);
    }
    Url::parse(address).map_err(|_| Reason::NotAUrl)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bases() -> Vec<FhirBase> {
        ["https://ehr.example/fhir", "http://127.0.0.1:8080/", "https://[2001:db8::1]/r4/"]
            .map(|base| FhirBase::new(base).unwrap())
            .to_vec()
    }

    #[test]
    fn a_server_lies_at_or_below_a_registered_base() {
        for good in [
            "https://ehr.example/fhir",
            "https://ehr.example/fhir/",
            "https://EHR.example:443/fhir",
            "HTTPS://ehr.example/fhir/tenant-7",
            "http://127.0.0.1:8080",
            "http://127.0.0.1:8080/any/path",
            "https://[2001:db8:0::1]/r4",
        ] {
            assert_eq!(check_server(&bases(), good), Ok(()), "{good}");
        }
        for (bad, reason) in [
            ("", Reason::NotAUrl),
            ("fhir", Reason::NotAUrl),
            ("//ehr.example/fhir", Reason::NotAUrl),
            ("https:ehr.example/fhir", Reason::NotAUrl),
            ("https:///ehr.example/fhir", Reason::NotAUrl),
            ("https://", Reason::NotAUrl),
            ("https://ehr.example:99999/fhir", Reason::NotAUrl),
            ("http://ehr.example/fhir", Reason::Unregistered),
            ("ftp://ehr.example/fhir", Reason::Unregistered),
            ("https://ehr.example:8443/fhir", Reason::Unregistered),
            ("https://ehr.example./fhir", Reason::Unregistered),
            ("https://ehr.example.evil.test/fhir", Reason::Unregistered),
            ("https://ehr.example/fhirx", Reason::Unregistered),
            ("https://ehr.example/FHIR", Reason::Unregistered),
            ("https://ehr.example/", Reason::Unregistered),
            ("https://127.0.0.1:8080/", Reason::Unregistered),
            ("http://2130706433:8081/", Reason::Unregistered),
            ("https://user@ehr.example/fhir", Reason::UserInfo),
            ("https://ehr.example@evil.test/fhir", Reason::UserInfo),
            ("https://@ehr.example/fhir", Reason::UserInfo),
            ("https://ehr.example/fhir/..", Reason::DotSegment),
            ("https://ehr.example/fhir/../admin", Reason::DotSegment),
            ("https://ehr.example/fhir/%2E%2e/admin", Reason::DotSegment),
            ("https://ehr.example/fhir/.%2e/admin", Reason::DotSegment),
            ("https://ehr.example/./fhir", Reason::DotSegment),
            ("https://ehr.example/fhir/..%2fadmin", Reason::EncodedSlash),
            ("https://ehr.example/fhir/%5C..", Reason::EncodedSlash),
            ("https://ehr.example\\@evil.test/fhir", Reason::Characters),
            ("https:\\\\ehr.example\\fhir", Reason::Characters),
            (" https://ehr.example/fhir", Reason::Characters),
            ("https://ehr.example/fhir\n", Reason::Characters),
            ("https://ehr\t.example/fhir", Reason::Characters),
            ("https://ehr.example/fhir?x=1", Reason::Query),
            ("https://ehr.example/fhir#x", Reason::Query),
        ] {
            assert_eq!(check_server(&bases(), bad), Err(reason), "{bad}");
        }
    }

    #[test]
    fn a_page_is_relative_or_lies_below_a_registered_base() {
        for good in [
            "https://ehr.example/fhir?_getpages=1#x",
            "https://ehr.example/fhir/Patient?page=2&back=https://ehr.example/",
            "Patient?page=2",
            "/fhir/Patient?at=12:30",
            "?page=2",
            "",
        ] {
            assert_eq!(check_page(&bases(), good), Ok(()), "{good}");
        }
        for (bad, reason) in [
            ("https://evil.test/fhir", Reason::Unregistered),
            ("//evil.test/fhir", Reason::NotAUrl),
            ("urn:uuid:9b60f3a2-6d31-4b0c-9d0e-0a4bd4d6fd50", Reason::NotAUrl),
            ("javascript:alert(1)", Reason::NotAUrl),
            (" https://evil.test/", Reason::Characters),
            ("\\\\evil.test/fhir", Reason::Characters),
            ("/\\evil.test/fhir", Reason::Characters),
            ("/\t/evil.test/fhir", Reason::Characters),
        ] {
            assert_eq!(check_page(&bases(), bad), Err(reason), "{bad}");
        }
    }

    #[test]
    fn a_base_is_plain() {
        for bad in [
            "ehr.example/fhir",
            "ftp://ehr.example/",
            "https://user:pw@ehr.example/fhir",
            "https://ehr.example/fhir?tenant=7",
            "https://ehr.example/a/../fhir",
            "https://ehr.example/a%2ffhir",
        ] {
            assert!(FhirBase::new(bad).is_err(), "{bad}");
        }
    }
}
