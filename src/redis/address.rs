//! Where a server listens.

use std::fmt;

/// A host, by name or number, and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Address {
    host: String,
    port: u16,
}

impl Address {
    /// An address that a server named.
    pub(super) const fn new(host: String, port: u16) -> Self {
        Self { host, port }
    }

    /// Reads `host:port`, where a numeric IPv6 host stands in brackets. Nothing where it is none.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let host = match host.strip_prefix('[') {
            Some(rest) => rest.strip_suffix(']').filter(|inner| inner.contains(':'))?,
            None if host.contains(':') => return None,
            None => host,
        };
        let ordinary = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':');
        let port = port.parse().ok().filter(|port| *port != 0)?;
        (!host.is_empty() && host.chars().all(ordinary)).then(|| Self::new(host.to_owned(), port))
    }

    /// Reads what a cluster's node sends somebody on to: an IPv6 host has no brackets there, and no
    /// host at all means that of the node itself.
    pub(super) fn parse_redirect(text: &str, answering: &Self) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let port = port.parse().ok().filter(|port| *port != 0)?;
        match host {
            "?" => None,
            "" => Some(Self::new(answering.host.clone(), port)),
            host => Some(Self::new(host.to_owned(), port)),
        }
    }

    /// The name or number.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// The port.
    pub(super) const fn port(&self) -> u16 {
        self.port
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_host_and_port() {
        for text in ["redis:6379", "10.0.0.1:1", "[::1]:6379", "a-b.c_d.example:65535"] {
            assert_eq!(Address::parse(text).unwrap().to_string(), text);
        }
        let bad = [
            "",
            "redis",
            "redis:",
            ":6379",
            "redis:0",
            "redis:65536",
            "::1:6379",
            "[::1]",
            "[redis]:1",
            "[]:1",
            "redis://redis:6379",
            "user@redis:6379",
            "re dis:6379",
            "redis:6379/0",
        ];
        for text in bad {
            assert_eq!(Address::parse(text), None, "{text}");
        }
    }

    #[test]
    fn redirects_may_leave_the_host_out() {
        let here = Address::new("10.0.0.1".to_owned(), 6379);
        for (text, expected) in [
            ("10.0.0.2:6380", Some("10.0.0.2:6380")),
            (":6380", Some("10.0.0.1:6380")),
            ("::1:6380", Some("[::1]:6380")),
            ("?:6380", None),
            ("10.0.0.2:0", None),
            ("10.0.0.2", None),
        ] {
            let to = Address::parse_redirect(text, &here).map(|to| to.to_string());
            assert_eq!(to.as_deref(), expected, "{text}");
        }
    }
}
