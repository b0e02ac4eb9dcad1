//! The URL under which the world knows this gateway.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::{Host, Url};

/// An https URL without query, fragment and credentials; http only on this machine itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = "^https?://[^?#@]+$"), example = &"https://cds.example.org")]
pub struct PublicUrl(Url);

impl PublicUrl {
    /// The URL.
    pub const fn as_url(&self) -> &Url {
        &self.0
    }
}

impl TryFrom<String> for PublicUrl {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let url = Url::parse(&text).map_err(|e| {
            format!("{text:?} is not a URL ({e}); write \"https://cds.example.org\"")
        })?;
        match (url.scheme(), url.host()) {
            ("https", Some(_)) => {}
            ("http", Some(host)) if is_loopback(&host) => {}
            _ => return Err(format!("{text:?} must begin with https://; EHRs call nothing else")),
        }
        if url.query().is_some() || url.fragment().is_some() || has_credentials(&url) {
            return Err(format!("{text:?} must have no query, no fragment and no user name"));
        }
        Ok(Self(url))
    }
}

fn is_loopback(host: &Host<&str>) -> bool {
    match host {
        Host::Domain(name) => *name == "localhost",
        Host::Ipv4(address) => address.is_loopback(),
        Host::Ipv6(address) => address.is_loopback(),
    }
}

fn has_credentials(url: &Url) -> bool {
    !url.username().is_empty() || url.password().is_some()
}

impl From<PublicUrl> for String {
    fn from(url: PublicUrl) -> Self {
        url.0.into()
    }
}

impl fmt::Display for PublicUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_an_ehr_can_call() {
        for good in [
            "https://cds.example.org",
            "https://x.org:8443/a/b/",
            "http://localhost:1",
            "http://127.0.0.1",
            "http://[::1]:2",
        ] {
            assert!(PublicUrl::try_from(good.to_owned()).is_ok(), "{good}");
        }
        for bad in [
            "",
            "cds.example.org",
            "http://cds.example.org",
            "https://x.org?a",
            "https://x.org#a",
            "https://u@x.org",
            "ftp://x.org",
            "http://10.0.0.1",
        ] {
            assert!(PublicUrl::try_from(bad.to_owned()).is_err(), "{bad}");
        }
    }
}
