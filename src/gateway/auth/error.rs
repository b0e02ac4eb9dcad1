//! Why a call was not authenticated.

use std::fmt;
use std::time::Duration;

use crate::gateway::auth::shown::Shown;
use crate::names::{ClientId, ServiceId};

/// A refusal of the authentication step. For log, metric and audit: the caller learns none of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct AuthError {
    reason: AuthReason,
    client: Option<ClientId>,
    issuer: Option<Shown>,
}

impl AuthError {
    /// A refusal before it was known who is calling.
    pub(super) const fn anonymous(reason: AuthReason) -> Self {
        Self { reason, client: None, issuer: None }
    }

    /// A refusal of somebody who claims to be `issuer`, who is `client` if that is one of ours. The
    /// claim may be false: see [`AuthReason::proves_sender`].
    pub(super) fn of(reason: AuthReason, client: Option<&ClientId>, issuer: &str) -> Self {
        Self { reason, client: client.cloned(), issuer: Some(Shown::new(issuer)) }
    }

    /// What was wrong.
    pub const fn reason(&self) -> &AuthReason {
        &self.reason
    }

    /// The client whose issuer the token names. Proven only where [`AuthReason::proves_sender`].
    pub const fn client(&self) -> Option<&ClientId> {
        self.client.as_ref()
    }

    /// The token's `iss`, cut and escaped for the log.
    pub fn issuer(&self) -> Option<&str> {
        self.issuer.as_ref().map(Shown::as_str)
    }
}

/// What was wrong with a call's authentication.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthReason {
    /// No `Authorization` header.
    #[error("no Authorization header")]
    Missing,
    /// More than one `Authorization` header.
    #[error("more than one Authorization header")]
    Several,
    /// Another scheme than `Bearer`.
    #[error("the Authorization scheme is not Bearer")]
    Scheme,
    /// `Bearer` is not followed by one token of visible characters.
    #[error("the Authorization header does not carry exactly one token")]
    NotOneToken,
    /// The token is longer than 8 KiB.
    #[error("the token is longer than 8 KiB")]
    TooLong,
    /// The token is not a JWS in compact form (RFC 7515 section 7.1).
    #[error("the token is malformed: {0}")]
    Malformed(Malformed),
    /// A header parameter that is never taken from a token.
    #[error("the token's header carries {0}")]
    Header(HeaderFault),
    /// The algorithm is not among the client's, or none at all.
    #[error("the algorithm {0:?} is not among the client's")]
    Algorithm(Shown),
    /// No `kid`, or not a usable one.
    #[error("the token's header has no kid of 1 to 256 characters")]
    KidMissing,
    /// The client's newest set has no key with this `kid`.
    #[error("no key {0:?} in the client's set")]
    KidUnknown(Shown),
    /// The set has the key, but refused it when the set was read.
    #[error("the key {kid:?} of the client's set is not usable: {fault}")]
    KeyRefused {
        /// Which key.
        kid: Shown,
        /// A stable word for why.
        fault: &'static str,
    },
    /// The key is not one for this algorithm.
    #[error("the key {0:?} is not one for the token's algorithm")]
    KeyMismatch(Shown),
    /// `jku` is not one of the client's.
    #[error("the jku {0:?} is not one of the client's")]
    Jku(Shown),
    /// No client has this issuer.
    #[error("the issuer {0:?} is not known")]
    Issuer(Shown),
    /// The signature is not the key's.
    #[error("the signature is not valid")]
    Signature,
    /// A claim is absent or not of its type.
    #[error("the claim {claim} {fault}")]
    Claim {
        /// Which claim.
        claim: &'static str,
        /// What is wrong with it.
        fault: ClaimFault,
    },
    /// No rule of the client accepts the `aud` that was sent.
    #[error("the audience {0:?} is not accepted here")]
    Audience(Shown),
    /// `exp` is past.
    #[error("the token has expired")]
    Expired,
    /// `nbf` is ahead.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// `iat` is ahead.
    #[error("the token was issued in the future")]
    IssuedInFuture,
    /// The token lives longer than the client's may.
    #[error("the token lives longer than the client's may")]
    Lifetime,
    /// The tenant is not on the client's list.
    #[error("the tenant {0:?} is not on the client's list")]
    Tenant(Shown),
    /// The client has a list of tenants and the token names none.
    #[error("the token names no tenant, and the client has a list of them")]
    TenantMissing,
    /// The token is good, and must come with a certificate: its client has a list of them, or it says so
    /// itself.
    #[error("no certificate was shown on the connection, and the client must call with one")]
    CertificateMissing,
    /// The certificate on the connection is not one that this client calls with, or not the one that the
    /// token names.
    #[error("the certificate on the connection is not the client's: {0}")]
    Certificate(Shown),
    /// The client is known, its token is good, and it may not call this service.
    #[error("the client may not call the service {0}")]
    ServiceForbidden(ServiceId),
    /// Whether the token is good cannot be said: there is no set of keys, or whether the unknown
    /// `kid` is a new key could not be asked.
    #[error("the client's keys cannot be had at the moment")]
    KeysUnavailable {
        /// When to try again.
        retry_after: Duration,
    },
}

impl AuthReason {
    /// Whether the signature had been verified when this was found, so that the refusal is the
    /// client's own doing and not that of somebody who only knows its issuer.
    pub const fn proves_sender(&self) -> bool {
        match self {
            Self::Claim { .. }
            | Self::Audience(_)
            | Self::Expired
            | Self::NotYetValid
            | Self::IssuedInFuture
            | Self::Lifetime
            | Self::Tenant(_)
            | Self::TenantMissing
            | Self::CertificateMissing
            | Self::Certificate(_)
            | Self::ServiceForbidden(_) => true,
            Self::Missing
            | Self::Several
            | Self::Scheme
            | Self::NotOneToken
            | Self::TooLong
            | Self::Malformed(_)
            | Self::Header(_)
            | Self::Algorithm(_)
            | Self::KidMissing
            | Self::KidUnknown(_)
            | Self::KeyRefused { .. }
            | Self::KeyMismatch(_)
            | Self::Jku(_)
            | Self::Issuer(_)
            | Self::Signature
            | Self::KeysUnavailable { .. } => false,
        }
    }
}

/// In which way a token is no JWS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Malformed {
    /// It has not three parts.
    #[error("it has not three parts")]
    Parts,
    /// A part is not base64url without padding.
    #[error("a part is not base64url")]
    Base64,
    /// The header is not one JSON object with each member once.
    #[error("its header is not a JSON object, or repeats a member")]
    HeaderJson,
    /// A header parameter is not of its type.
    #[error("a header parameter is not of its type")]
    HeaderType,
    /// The payload is not one JSON object with each member once.
    #[error("its payload is not a JSON object, or repeats a member")]
    ClaimsJson,
    /// Before its signature is looked at, a token must say who issued it.
    #[error("its iss is absent or not a string")]
    Issuer,
}

/// A header parameter that refuses a token by its presence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderFault {
    /// `crit`: names extensions that must be understood, and none is (RFC 7515 section 4.1.11).
    Crit,
    /// `b64`: an unencoded payload (RFC 7797). Only `crit` could give it a meaning.
    B64,
    /// `zip`: defined for JWE alone; a compressed payload would be a bomb.
    Zip,
    /// `jwk`: a key that comes with the token proves nothing (RFC 8725 section 3.10).
    Jwk,
    /// `x5u`: a place to fetch a key from that the sender chose (RFC 8725 section 3.10).
    X5u,
    /// `x5c`: a key that comes with the token.
    X5c,
    /// `typ` is not `JWT` (RFC 8725 section 3.11).
    Typ(Shown),
    /// `cty` is `JWT`: a nested token (RFC 7519 section 5.2).
    Nested,
}

impl fmt::Display for HeaderFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Crit => f.write_str("crit"),
            Self::B64 => f.write_str("b64"),
            Self::Zip => f.write_str("zip"),
            Self::Jwk => f.write_str("jwk"),
            Self::X5u => f.write_str("x5u"),
            Self::X5c => f.write_str("x5c"),
            Self::Typ(sent) => write!(f, "typ {sent:?}, not JWT"),
            Self::Nested => f.write_str("cty JWT: a token within a token"),
        }
    }
}

/// What is wrong with a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ClaimFault {
    /// It is required.
    #[error("is missing")]
    Missing,
    /// It is not of the JSON type that the standard gives it.
    #[error("is not of its type")]
    Type,
    /// It is a text or list that must not be empty.
    #[error("is empty")]
    Empty,
    /// It is longer than any honest one.
    #[error("is too long")]
    TooLong,
    /// It is a time before 1970 or after 9999.
    #[error("is out of range")]
    Range,
}
