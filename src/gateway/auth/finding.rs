//! What an examination finds, check by check.

use crate::gateway::auth::audience::AudienceRule;
use crate::gateway::auth::error::{AuthError, AuthReason};
use crate::gateway::auth::settings::ReplayMode;
use crate::gateway::auth::shown::Shown;
use crate::names::ClientId;

/// What is checked, in the order in which the gateway looks at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Check {
    /// The `Authorization` header.
    Bearer,
    /// Three parts in base64url, two of them JSON objects.
    Form,
    /// Header parameters that are never taken from a token.
    Header,
    /// `typ`
    Type,
    /// `alg`
    Algorithm,
    /// `kid`, and the key that it names.
    Key,
    /// `jku`
    KeyUrl,
    /// `iss`
    Issuer,
    /// The signature.
    Signature,
    /// `aud`
    Audience,
    /// `exp`
    Expiry,
    /// `iat`
    IssuedAt,
    /// `nbf`
    NotBefore,
    /// From `iat` to `exp`.
    Lifetime,
    /// `jti`
    TokenId,
    /// `tenant`
    Tenant,
    /// `cnf`, and the certificate that must come with the token.
    Certificate,
    /// Whether the client may call the service.
    Service,
}

impl Check {
    /// A short word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Bearer => "bearer",
            Self::Form => "form",
            Self::Header => "header",
            Self::Type => "typ",
            Self::Algorithm => "alg",
            Self::Key => "kid",
            Self::KeyUrl => "jku",
            Self::Issuer => "iss",
            Self::Signature => "signature",
            Self::Audience => "aud",
            Self::Expiry => "exp",
            Self::IssuedAt => "iat",
            Self::NotBefore => "nbf",
            Self::Lifetime => "lifetime",
            Self::TokenId => "jti",
            Self::Tenant => "tenant",
            Self::Certificate => "certificate",
            Self::Service => "services",
        }
    }
}

/// How a check came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// As it should be.
    Passed,
    /// It refuses the token.
    Failed(AuthReason),
    /// It could not be made.
    Unsaid(&'static str),
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What was checked.
    pub check: Check,
    /// How it came out.
    pub outcome: Outcome,
    /// What came, fit to be shown.
    pub came: String,
    /// What would have been taken, a line for each possibility.
    pub expected: Vec<String>,
    /// What to change, here or at the EHR.
    pub change: Vec<String>,
}

/// All that can be said about a token.
#[derive(Debug)]
pub struct Examination {
    /// Every check that was made, in the gateway's order: the first that failed is the one that the gateway
    /// refuses for.
    pub findings: Vec<Finding>,
    /// What the gateway itself says, but for whether the token was used before.
    pub verdict: Result<AudienceRule, AuthError>,
    /// The client by whose rules it was examined.
    pub client: Option<ClientId>,
    /// What happens to a token of that client that comes a second time.
    pub replay: Option<ReplayMode>,
    /// Whether that is not the client that the token's issuer names.
    pub assumed: bool,
    /// Whether the verdict hangs on keys that nobody has asked for.
    pub keys_unasked: bool,
    /// Claims that nothing looks at; their values are not shown.
    pub ignored: Vec<Shown>,
}

impl Finding {
    /// A check that passed.
    pub(super) fn passed(check: Check, came: impl Into<String>) -> Self {
        Self::new(check, Outcome::Passed, came)
    }

    /// A check that refuses.
    pub(super) fn failed(check: Check, reason: AuthReason, came: impl Into<String>) -> Self {
        Self::new(check, Outcome::Failed(reason), came)
    }

    /// A check that was not made.
    pub(super) fn unsaid(check: Check, why: &'static str, came: impl Into<String>) -> Self {
        Self::new(check, Outcome::Unsaid(why), came)
    }

    /// The result of a check.
    pub(super) fn of(
        check: Check,
        result: Result<(), AuthReason>,
        came: impl Into<String>,
    ) -> Self {
        let outcome = result.map_or_else(Outcome::Failed, |()| Outcome::Passed);
        Self::new(check, outcome, came)
    }

    fn new(check: Check, outcome: Outcome, came: impl Into<String>) -> Self {
        let (expected, change) = (Vec::new(), Vec::new());
        Self { check, outcome, came: came.into(), expected, change }
    }

    /// The same, with what would have been taken.
    pub(super) fn expecting(mut self, what: impl IntoIterator<Item = String>) -> Self {
        self.expected.extend(what);
        self
    }

    /// The same, with what to change where it failed.
    pub(super) fn else_change(mut self, what: impl IntoIterator<Item = String>) -> Self {
        if let Outcome::Failed(_) = self.outcome {
            self.change.extend(what);
        }
        self
    }
}
