//! What may stand in a service's cards.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

/// What is done with a place that may lead the clinician elsewhere without passing the gateway.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Treatment {
    /// It stays, and is counted.
    Keep,
    /// It goes.
    Strip,
}

/// What is done with `uuid`s of cards and suggestions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Ids {
    /// They are replaced, so that feedback is bound to its caller and expires.
    Rewrite,
    /// They stay as the service gave them; feedback about them is not bound to anybody.
    Pass,
}

/// Why a text in the configuration is no origin.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no origin; write \"https://app.example\" or \"https://app.example:8443\"")]
pub struct BadOrigin(String);

/// An http or https origin (RFC 6454): scheme, host and port.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = "^https?://[^/?#@]+/?$"))]
pub struct Origin(Url);

impl Origin {
    /// Parses an origin. A slash at its end means nothing.
    ///
    /// # Errors
    /// [`BadOrigin`] where there is more or less than scheme, host and port.
    pub fn new(written: &str) -> Result<Self, BadOrigin> {
        let bad = || BadOrigin(written.to_owned());
        let url = Url::parse(written).map_err(|_| bad())?;
        let bare = url.origin().ascii_serialization();
        let plain = url.as_str().strip_suffix('/') == Some(bare.as_str());
        if !plain || !matches!(url.scheme(), "http" | "https") {
            return Err(bad());
        }
        Ok(Self(url))
    }

    /// Whether `url` is on this origin.
    pub fn holds(&self, url: &Url) -> bool {
        self.0.scheme() == url.scheme()
            && self.0.host() == url.host()
            && self.0.port_or_known_default() == url.port_or_known_default()
    }
}

impl TryFrom<String> for Origin {
    type Error = BadOrigin;

    fn try_from(text: String) -> Result<Self, BadOrigin> {
        Self::new(&text)
    }
}

impl From<Origin> for String {
    fn from(origin: Origin) -> Self {
        origin.to_string()
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

impl fmt::Debug for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.0.as_str(), f)
    }
}

/// One service's settings. They are also the policy: every combination can be meant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Policy {
    /// Whether links of type `smart` are rewritten too. Off: EHRs do not show launch URLs that were
    /// not registered with them, and drop SMART web messages from another origin than the link's.
    pub rewrite_smart: bool,
    /// Origins that links may lead to; a link elsewhere loses its object. Empty, the default: any
    /// http or https address. Holds for `smart` links too, rewritten or not.
    pub allowed_origins: Vec<Origin>,
    /// `source.url`, the organisation's page: `"keep"` (default: it is no link into a case) or
    /// `"strip"`.
    pub source_url: Treatment,
    /// Links in the markdown of `detail`: `"keep"` (default: the text was written with them) or
    /// `"strip"`, which leaves a link's text and an address's host name.
    pub detail_links: Treatment,
    /// Whether each rewritten link and its card say when they expire, in `extension."org.hookgate"`.
    /// On: it is the only way for an EHR to know.
    pub announce: bool,
    /// `"rewrite"` (default) or `"pass"`.
    pub ids: Ids,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            rewrite_smart: false,
            allowed_origins: Vec::new(),
            source_url: Treatment::Keep,
            detail_links: Treatment::Keep,
            announce: true,
            ids: Ids::Rewrite,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_scheme_host_and_port() {
        let origin = Origin::new("https://App.example:443/").unwrap();
        assert_eq!(origin.to_string(), "https://app.example");
        assert!(origin.holds(&Url::parse("https://user@app.example/x?y#z").unwrap()));
        for other in [
            "http://app.example/",
            "https://app.example:8443/",
            "https://app.example.evil.test/",
            "https://evil.test/@app.example",
        ] {
            assert!(!origin.holds(&Url::parse(other).unwrap()), "{other}");
        }
        for bad in [
            "",
            "app.example",
            "https://",
            "ftp://app.example",
            "https://app.example/x",
            "https://u@app.example",
            "https://app.example?",
            "https://app.example/#",
            "data:x",
        ] {
            assert!(Origin::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn settings_are_read_and_written() {
        let text = r#"
            rewrite_smart = true
            allowed_origins = ["https://app.example"]
            source_url = "strip"
            detail_links = "strip"
            announce = false
            ids = "pass"
        "#;
        let policy: Policy = toml::from_str(text).unwrap();
        assert_eq!(toml::from_str::<Policy>(&toml::to_string(&policy).unwrap()).unwrap(), policy);
        assert_ne!(policy, Policy::default());
        assert_eq!(toml::from_str::<Policy>("").unwrap(), Policy::default());
        assert!(toml::from_str::<Policy>("rewrite = true").is_err());
    }
}
