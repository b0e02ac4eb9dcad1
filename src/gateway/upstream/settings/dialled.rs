//! Where an upstream is dialled, when that is not where its URL points.

use std::fmt;

use http::Uri;
use http::uri::Authority;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A host and a port: an address of a machine, or a name for one or several.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(extend("pattern" = "^[^/@]+:[0-9]+$"))]
pub struct Dialled {
    authority: Authority,
    port: u16,
}

impl Dialled {
    /// Its name, or its number without the brackets of IPv6.
    pub fn host(&self) -> &str {
        self.authority.host().trim_matches(['[', ']'])
    }

    /// Its port.
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// As what a connector dials.
    pub(crate) fn uri(&self) -> Uri {
        let authority = self.authority.clone();
        let parts = Uri::builder().scheme("http").authority(authority).path_and_query("/").build();
        // A scheme, an authority and a path always make one.
        parts.unwrap_or_default()
    }
}

impl TryFrom<String> for Dialled {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let wrong = || {
            format!("{text:?} is no address; write \"10.0.0.5:8080\" or \"cds-2.internal:8080\"")
        };
        let authority: Authority = text.parse().map_err(|_| wrong())?;
        let port = authority.port_u16().filter(|port| *port > 0).ok_or_else(wrong)?;
        let host = authority.host();
        // What follows is exactly a host, a colon and a port: no user before it.
        if host.is_empty() || text.rsplit_once(':').is_none_or(|(before, _)| before != host) {
            return Err(wrong());
        }
        Ok(Self { authority, port })
    }
}

impl From<Dialled> for String {
    fn from(dialled: Dialled) -> Self {
        dialled.to_string()
    }
}

impl fmt::Display for Dialled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.authority.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_and_a_port_and_nothing_else() {
        for (text, host, port) in [
            ("10.0.0.5:8080", "10.0.0.5", 8080),
            ("cds-2.internal:80", "cds-2.internal", 80),
            ("[2001:db8::1]:443", "2001:db8::1", 443),
        ] {
            let dialled = Dialled::try_from(text.to_owned()).unwrap();
            assert_eq!((dialled.host(), dialled.port()), (host, port));
            assert_eq!(dialled.to_string(), text);
            assert_eq!(dialled.uri().authority().unwrap().as_str(), text);
        }
        for wrong in [
            "",
            "host",
            "host:",
            ":80",
            "host:0",
            "host:70000",
            "u@host:80",
            "http://h:80",
            "h:80/",
        ] {
            let why = Dialled::try_from(wrong.to_owned()).unwrap_err();
            assert!(why.contains("is no address; write"), "{wrong}: {why}");
        }
    }
}
