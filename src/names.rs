//! The names that the field uses, each a type that cannot hold nonsense.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::clock::UnixTime;
use crate::entropy::{Entropy, NoEntropy, draw};

/// Why a text is not the name it should be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadName(&'static str);

macro_rules! name {
    ($(#[$doc:meta])* $name:ident, $valid:path, $pattern:literal, $why:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
        #[serde(try_from = "String", into = "String")]
        #[schemars(extend("pattern" = $pattern))]
        pub struct $name(Arc<str>);

        impl $name {
            /// Parses a name.
            ///
            /// # Errors
            /// [`BadName`] says what is allowed.
            pub fn new(text: &str) -> Result<Self, BadName> {
                if $valid(text) { Ok(Self(Arc::from(text))) } else { Err(BadName($why)) }
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = BadName;
            fn try_from(text: String) -> Result<Self, BadName> {
                Self::new(&text)
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0.as_ref().to_owned()
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

name! {
    /// What the operator calls a CDS client (an EHR). It stands in logs, metrics and headers.
    ClientId, is_label, "^[A-Za-z0-9._-]{1,64}$", "use 1 to 64 of the characters A-Z a-z 0-9 . _ -"
}

name! {
    /// What the operator calls an upstream: one legacy service's base URL.
    UpstreamId, is_label, "^[A-Za-z0-9._-]{1,64}$", "use 1 to 64 of the characters A-Z a-z 0-9 . _ -"
}

name! {
    /// A CDS service's `id` (CDS Hooks 2.0, Discovery): one path segment.
    ServiceId, is_segment, "^[A-Za-z0-9._~!$&'()*+,;=:@-]{1,128}$", "use 1 to 128 characters that stand in a URL path segment as they are, without %"
}

name! {
    /// The JWT's `tenant` (CDS Hooks 2.0, JSON Web Token): an opaque organisation id.
    Tenant, is_tenant, "^[^\\x00-\\x1f\\x7f]{1,128}$", "use 1 to 128 characters without control characters"
}

fn is_label(text: &str) -> bool {
    (1..=64).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'))
}

/// RFC 3986 section 3.3 `pchar` without percent-encoding, and no dot segment.
fn is_segment(text: &str) -> bool {
    (1..=128).contains(&text.len())
        && text != "."
        && text != ".."
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&b))
}

fn is_tenant(text: &str) -> bool {
    (1..=128).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// A request's `hookInstance` (CDS Hooks 2.0, HTTP Request): a UUID. Not a key for de-duplication:
/// drafts re-sent it on purpose, and one public client sends a constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HookInstance(pub Uuid);

impl fmt::Display for HookInstance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.as_hyphenated(), f)
    }
}

/// Names one request in logs, audit and refusals: a UUID of version 7, so that they sort by time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RequestId(Uuid);

impl RequestId {
    /// The id of a request for which none could be drawn.
    pub const UNKNOWN: Self = Self(Uuid::nil());

    /// A new id.
    ///
    /// # Errors
    /// [`NoEntropy`] where the source of randomness failed.
    pub fn new(now: UnixTime, entropy: &dyn Entropy) -> Result<Self, NoEntropy> {
        let random = draw::<10>(entropy)?;
        Ok(Self(uuid::Builder::from_unix_timestamp_millis(now.millis(), &random).into_uuid()))
    }
}

impl fmt::Display for RequestId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0.as_hyphenated(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SeededEntropy;

    #[test]
    fn refuses_what_is_no_segment() {
        for good in ["patient-greeting", "a", "Service_1", "a:b@c", "x.y"] {
            assert!(ServiceId::new(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", "a/b", "a%2fb", "a b", "ä", "a?b", "a#b", "a\\b"] {
            assert!(ServiceId::new(bad).is_err(), "{bad}");
        }
        assert!(ServiceId::new(&"a".repeat(129)).is_err());
    }

    #[test]
    fn request_ids_sort_by_time() {
        let entropy = SeededEntropy::new(1);
        let early = RequestId::new(UnixTime::from_secs(1_700_000_000), &entropy).unwrap();
        let late = RequestId::new(UnixTime::from_secs(1_700_000_001), &entropy).unwrap();
        assert!(early.to_string() < late.to_string());
    }
}
