//! Every way to say no, and what the caller learns of it.
//!
//! One exhaustive match gives each error its status and code, another its exact reason for log and metric:
//! an error that is new does not compile until it has its row in both.

use bytes::Bytes;
use http::header::SET_COOKIE;
use http::{HeaderValue, StatusCode};
use http_body_util::Full;

use crate::audit::Unaudited;
use crate::body::BodyError;
use crate::entropy::NoEntropy;
use crate::gateway::auth::{AuthError, AuthReason, HeaderFault, Malformed};
use crate::gateway::cards::answer::RenderError;
use crate::gateway::cards::read::CardsError;
use crate::gateway::inspect::request::{InspectError, Place};
use crate::gateway::limit::{Limit, Limited};
use crate::gateway::opening;
use crate::gateway::opening::{LocationError, PageKind};
use crate::gateway::outcomes::OutcomesError;
use crate::gateway::replay::ReplayError;
use crate::gateway::reply::{Public, Reply};
use crate::gateway::route::RouteError;
use crate::gateway::tokens::{IdError, IssueError, SealError, TokenError};
use crate::gateway::upstream::{Stage, UpstreamError};
use crate::names::RequestId;
use crate::store::StoreError;

/// Why a request is not answered as asked.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// It goes nowhere, or could be read in two ways.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// The path names a service that is not served here.
    #[error("no such service")]
    NoService,
    /// The token.
    #[error(transparent)]
    Auth(#[from] AuthError),
    /// EHRs must show a certificate, whatever their token says.
    #[error(
        "no certificate was shown on the connection, and listener.client_certificates is \"required\""
    )]
    NoCertificate,
    /// Too often.
    #[error(transparent)]
    Limit(#[from] Limited),
    /// The body is not declared as JSON.
    #[error("the body is not declared as JSON")]
    MediaType,
    /// The body.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// The token was good, once.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// What the request says.
    #[error(transparent)]
    Inspect(#[from] InspectError),
    /// What the feedback says.
    #[error(transparent)]
    Outcomes(#[from] OutcomesError),
    /// The upstream.
    #[error(transparent)]
    Upstream(#[from] UpstreamError),
    /// The upstream's discovery document cannot be read.
    #[error("the upstream's discovery document cannot be read")]
    Discovery,
    /// The upstream's cards.
    #[error(transparent)]
    Cards(#[from] CardsError),
    /// The cards could not be written.
    #[error(transparent)]
    Render(#[from] RenderError),
    /// A link could not be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// An id could not be issued.
    #[error(transparent)]
    Issue(#[from] IssueError),
    /// The link.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The link has been opened, by another browser or too long ago.
    #[error("the link has been opened before")]
    Spent,
    /// What the link was made for is gone: its service, or its target in the store.
    #[error("what the link was made for is gone")]
    Orphaned,
    /// The link's target cannot be gone to.
    #[error(transparent)]
    Location(#[from] LocationError),
    /// The id.
    #[error(transparent)]
    Id(#[from] IdError),
    /// No entry of the feedback has an id of ours.
    #[error("no entry has an id of ours")]
    NoneKnown,
    /// The analytics call was delivered before, and repeats are refused.
    #[error("the call was delivered before")]
    Repeated,
    /// The same delivery is under way.
    #[error("the same delivery is under way")]
    Busy,
    /// The store did not say whether the link is opened now. The browser that asked may hold the spending:
    /// this cookie lets it come again, and no other.
    #[error("{error}")]
    Unanswered {
        /// What the store said.
        error: StoreError,
        /// The `Set-Cookie` of this browser.
        cookie: HeaderValue,
    },
    /// State.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What was decided cannot be told, and has to be.
    #[error(transparent)]
    Audit(#[from] Unaudited),
    /// Randomness.
    #[error(transparent)]
    Entropy(#[from] NoEntropy),
}

/// Seconds after which a new attempt makes sense where nothing better is known.
const SOON: u64 = 1;
/// A store that is full or down rarely comes back within a second.
const LATER: u64 = 5;

impl Refusal {
    /// All that the caller may learn.
    pub fn public(&self) -> Public {
        let say = Public::new;
        match self {
            Self::Route(RouteError::NoRoute) | Self::NoService => {
                say(StatusCode::NOT_FOUND, "no-route")
            }
            Self::Route(RouteError::Method { way }) => {
                Public { allow: Some(way.allow()), ..say(StatusCode::METHOD_NOT_ALLOWED, "method") }
            }
            Self::Route(RouteError::Malformed(_)) => say(StatusCode::BAD_REQUEST, "malformed"),
            Self::Auth(error) => auth(error.reason()),
            Self::NoCertificate => say(StatusCode::UNAUTHORIZED, "unauthorized"),
            Self::Limit(limited) => say(StatusCode::TOO_MANY_REQUESTS, "limited")
                .retry_after(limited.retry_after_secs()),
            Self::MediaType => say(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media-type"),
            Self::Body(error) => body(*error),
            Self::Replay(ReplayError::Replayed | ReplayError::Forgotten)
            | Self::Replay(ReplayError::Store(StoreError::Late)) => {
                say(StatusCode::UNAUTHORIZED, "unauthorized")
            }
            Self::Replay(ReplayError::Unknown { wait }) => {
                let secs = u64::try_from(wait.as_millis().div_ceil(1000)).unwrap_or(LATER);
                say(StatusCode::SERVICE_UNAVAILABLE, "store").retry_after(secs.max(SOON))
            }
            Self::Replay(ReplayError::Store(error))
            | Self::Unanswered { error, .. }
            | Self::Store(error) => store(error),
            Self::Inspect(InspectError::Forbidden(_)) => say(StatusCode::FORBIDDEN, "forbidden"),
            Self::Inspect(
                InspectError::Json(_)
                | InspectError::Member(_)
                | InspectError::NotAnObject
                | InspectError::Missing(_)
                | InspectError::WrongType(_)
                | InspectError::Hook
                | InspectError::HookInstance,
            )
            | Self::Outcomes(_) => say(StatusCode::BAD_REQUEST, "malformed"),
            Self::Upstream(error) => upstream(error),
            Self::Discovery | Self::Cards(_) => say(StatusCode::BAD_GATEWAY, "upstream-unreadable"),
            Self::Seal(SealError::TargetTooLong) => {
                say(StatusCode::BAD_GATEWAY, "upstream-unreadable")
            }
            Self::Token(
                TokenError::Malformed
                | TokenError::UnknownKey
                | TokenError::Forged
                | TokenError::Orphaned
                | TokenError::Expired { .. }
                | TokenError::Forgotten { .. }
                | TokenError::StoredTarget,
            )
            | Self::Spent
            | Self::Orphaned
            | Self::Location(_) => say(StatusCode::GONE, "link-gone"),
            Self::Id(error) => id(*error),
            Self::NoneKnown | Self::Repeated => say(StatusCode::GONE, "id-gone"),
            Self::Busy => busy(),
            Self::Audit(Unaudited) => {
                say(StatusCode::SERVICE_UNAVAILABLE, "overloaded").retry_after(LATER)
            }
            Self::Seal(
                SealError::NoEntropy(_)
                | SealError::UnknownClient
                | SealError::Expiry
                | SealError::UrlTooLong
                | SealError::Cipher,
            )
            | Self::Issue(_)
            | Self::Render(_)
            | Self::Replay(ReplayError::Entropy(_))
            | Self::Entropy(_) => say(StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        }
    }

    /// Whether somebody without a client's key may be trying. A client whose signature held and whose
    /// audience or clock is wrong harms only itself: it must not keep its neighbours at the same address
    /// from calling.
    pub fn may_be_a_guess(&self) -> bool {
        let Self::Auth(error) = self else { return matches!(self, Self::NoCertificate) };
        let reason = error.reason();
        auth(reason).status == StatusCode::UNAUTHORIZED && !reason.proves_sender()
    }

    /// What a person at a browser sees: what happened and what to do, in the words of no error.
    pub fn page(&self, id: RequestId) -> Reply {
        let public = self.public();
        let kind = match public.status {
            StatusCode::GONE => PageKind::Gone,
            StatusCode::SERVICE_UNAVAILABLE => PageKind::TryLater,
            StatusCode::TOO_MANY_REQUESTS => PageKind::TooMany,
            StatusCode::NOT_FOUND => PageKind::NotFound,
            other => PageKind::Other(other),
        };
        let response = opening::page(kind, id).into_response();
        let mut reply = response.map(|html| Full::new(Bytes::from(html)));
        public.add_fields(&mut reply);
        if let Self::Unanswered { cookie, .. } = self {
            reply.headers_mut().insert(SET_COOKIE, cookie.clone());
        }
        reply
    }

    /// The exact reason, for the operator only.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Route(RouteError::NoRoute) => "no-route",
            Self::Route(RouteError::Method { .. }) => "method",
            Self::Route(RouteError::Malformed(what)) => what,
            Self::NoService => "no-service",
            Self::NoCertificate => "certificate-missing",
            Self::Auth(error) => auth_reason(error.reason()),
            Self::Limit(limited) => limit_reason(limited.which()),
            Self::MediaType => "media-type",
            Self::Body(BodyError::TooLarge) => "body-too-large",
            Self::Body(BodyError::TooSlow) => "body-too-slow",
            Self::Body(BodyError::Broken) => "body-broken",
            Self::Body(BodyError::Overloaded) => "bytes-held",
            Self::Replay(ReplayError::Replayed) => "replayed",
            Self::Replay(ReplayError::Forgotten) => "forgotten",
            Self::Replay(ReplayError::Unknown { .. }) => "use-unknown",
            Self::Replay(ReplayError::Store(StoreError::Late)) => "expired",
            Self::Replay(ReplayError::Store(error))
            | Self::Unanswered { error, .. }
            | Self::Store(error) => store_reason(error),
            Self::Inspect(error) => inspect_reason(error),
            Self::Outcomes(error) => outcomes_reason(error),
            Self::Upstream(error) => upstream_reason(error),
            Self::Discovery => "discovery-unreadable",
            Self::Cards(error) => cards_reason(error),
            Self::Render(_) => "cards-render",
            Self::Seal(SealError::TargetTooLong) => "link-too-long",
            Self::Seal(SealError::UrlTooLong) => "public-url-too-long",
            Self::Seal(SealError::UnknownClient) => "client-not-configured",
            Self::Seal(SealError::Expiry) | Self::Issue(IssueError::Expiry) => "clock",
            Self::Seal(SealError::Cipher) | Self::Issue(IssueError::Cipher) => "cipher",
            Self::Seal(SealError::NoEntropy(_))
            | Self::Issue(IssueError::NoEntropy(_))
            | Self::Replay(ReplayError::Entropy(_))
            | Self::Entropy(_) => "entropy",
            Self::Token(error) => token_reason(error),
            Self::Spent => "link-spent",
            Self::Orphaned => "link-orphaned",
            Self::Location(_) => "link-target",
            Self::Id(error) => id_reason(*error),
            Self::NoneKnown => "no-id-known",
            Self::Repeated => "repeated",
            Self::Busy => "delivery-busy",
            Self::Audit(Unaudited) => "audit-unwritten",
        }
    }
}

/// One bare 401 for everything about the token; an outage of the client's key server is none.
fn auth(reason: &AuthReason) -> Public {
    match reason {
        AuthReason::Several => Public::new(StatusCode::BAD_REQUEST, "malformed"),
        AuthReason::ServiceForbidden(_) => Public::new(StatusCode::FORBIDDEN, "forbidden"),
        AuthReason::KeysUnavailable { retry_after } => {
            Public::new(StatusCode::SERVICE_UNAVAILABLE, "keys-unavailable")
                .retry_after(retry_after.as_secs().max(SOON))
        }
        AuthReason::Missing
        | AuthReason::Scheme
        | AuthReason::NotOneToken
        | AuthReason::TooLong
        | AuthReason::Malformed(_)
        | AuthReason::Header(_)
        | AuthReason::Algorithm(_)
        | AuthReason::KidMissing
        | AuthReason::KidUnknown(_)
        | AuthReason::KeyRefused { .. }
        | AuthReason::KeyMismatch(_)
        | AuthReason::Jku(_)
        | AuthReason::Issuer(_)
        | AuthReason::Signature
        | AuthReason::Claim { .. }
        | AuthReason::Audience(_)
        | AuthReason::Expired
        | AuthReason::NotYetValid
        | AuthReason::IssuedInFuture
        | AuthReason::Lifetime
        | AuthReason::Tenant(_)
        | AuthReason::TenantMissing
        | AuthReason::CertificateMissing
        | AuthReason::Certificate(_) => Public::new(StatusCode::UNAUTHORIZED, "unauthorized"),
    }
}

/// The exact reason of a refused token.
pub(crate) const fn auth_reason(reason: &AuthReason) -> &'static str {
    match reason {
        AuthReason::Missing => "token-missing",
        AuthReason::Several => "token-several",
        AuthReason::Scheme => "token-scheme",
        AuthReason::NotOneToken => "token-malformed",
        AuthReason::TooLong => "token-too-long",
        AuthReason::Malformed(Malformed::Issuer) => "issuer",
        AuthReason::Malformed(_) => "token-malformed",
        AuthReason::Header(fault) => header_reason(fault),
        AuthReason::Algorithm(_) => "alg",
        AuthReason::KidMissing | AuthReason::KidUnknown(_) => "kid",
        AuthReason::KeyRefused { .. } => "key-refused",
        AuthReason::KeyMismatch(_) => "key-mismatch",
        AuthReason::Jku(_) => "jku",
        AuthReason::Issuer(_) => "issuer",
        AuthReason::Signature => "signature",
        AuthReason::Claim { .. } => "claim",
        AuthReason::Audience(_) => "audience",
        AuthReason::Expired => "expired",
        AuthReason::NotYetValid => "not-yet-valid",
        AuthReason::IssuedInFuture => "issued-in-future",
        AuthReason::Lifetime => "lifetime",
        AuthReason::Tenant(_) | AuthReason::TenantMissing => "tenant",
        AuthReason::CertificateMissing => "certificate-missing",
        AuthReason::Certificate(_) => "certificate",
        AuthReason::ServiceForbidden(_) => "service-forbidden",
        AuthReason::KeysUnavailable { .. } => "keys-unavailable",
    }
}

const fn header_reason(fault: &HeaderFault) -> &'static str {
    match fault {
        HeaderFault::Crit => "crit",
        HeaderFault::B64 => "b64",
        HeaderFault::Zip => "zip",
        HeaderFault::Jwk => "jwk",
        HeaderFault::X5u => "x5u",
        HeaderFault::X5c => "x5c",
        HeaderFault::Typ(_) => "typ",
        HeaderFault::Nested => "nested",
    }
}

const fn limit_reason(limit: Limit) -> &'static str {
    match limit {
        Limit::Address => "limit-address",
        Limit::FailingAddress => "limit-failing-address",
        Limit::OpenAddress => "limit-open-address",
        Limit::Client => "limit-client",
        Limit::ClientService => "limit-client-service",
    }
}

const fn body(error: BodyError) -> Public {
    match error {
        BodyError::TooLarge => Public::new(StatusCode::PAYLOAD_TOO_LARGE, "body-too-large"),
        BodyError::TooSlow => Public::new(StatusCode::REQUEST_TIMEOUT, "body-too-slow"),
        BodyError::Broken => Public::new(StatusCode::BAD_REQUEST, "malformed"),
        BodyError::Overloaded => {
            Public::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded").retry_after(SOON)
        }
    }
}

const fn inspect_reason(error: &InspectError) -> &'static str {
    match error {
        InspectError::Json(_) => "json",
        InspectError::Member(_) => "json-member",
        InspectError::NotAnObject => "not-an-object",
        InspectError::Missing(_) => "member-missing",
        InspectError::WrongType(_) => "member-type",
        InspectError::Hook => "hook",
        InspectError::HookInstance => "hook-instance",
        InspectError::Forbidden(finding) => match finding.place {
            Place::FhirServer => "fhir-server",
            Place::BundleLink => "bundle-link",
        },
    }
}

const fn outcomes_reason(error: &OutcomesError) -> &'static str {
    match error {
        OutcomesError::Json(_) => "json",
        OutcomesError::Member(_) => "json-member",
        OutcomesError::NotAnObject => "not-an-object",
        OutcomesError::Missing(_) => "member-missing",
        OutcomesError::WrongType(_) => "member-type",
        OutcomesError::Id(_) => "member-id",
        OutcomesError::TooMany => "too-many-entries",
    }
}

const fn cards_reason(error: &CardsError) -> &'static str {
    match error {
        CardsError::Json(_) => "cards-json",
        CardsError::Member(_) => "cards-member",
        CardsError::NotCards => "cards-missing",
        CardsError::WrongType(_) => "cards-member-type",
    }
}

fn upstream(error: &UpstreamError) -> Public {
    match error {
        UpstreamError::Overloaded => {
            Public::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded").retry_after(SOON)
        }
        UpstreamError::Returned(_) => {
            Public::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded").retry_after(SOON)
        }
        UpstreamError::Open { again } => {
            let secs = u64::try_from(again.as_millis().div_ceil(1000)).unwrap_or(LATER);
            Public::new(StatusCode::SERVICE_UNAVAILABLE, "upstream-unavailable")
                .retry_after(secs.max(SOON))
        }
        UpstreamError::Late(_) => Public::new(StatusCode::GATEWAY_TIMEOUT, "upstream-late"),
        UpstreamError::Unreachable(_) | UpstreamError::Tls(_) => {
            Public::new(StatusCode::BAD_GATEWAY, "upstream-unreachable")
        }
        UpstreamError::Broken(_)
        | UpstreamError::NotHttp(_)
        | UpstreamError::TooLarge
        | UpstreamError::Encoded(_)
        | UpstreamError::Redirect(_) => Public::new(StatusCode::BAD_GATEWAY, "upstream-unreadable"),
        UpstreamError::Unaddressable => Public::new(StatusCode::NOT_FOUND, "no-route"),
        UpstreamError::Unknown(_) | UpstreamError::Entropy(_) | UpstreamError::Unsigned(_) => {
            Public::new(StatusCode::INTERNAL_SERVER_ERROR, "internal")
        }
    }
}

const fn upstream_reason(error: &UpstreamError) -> &'static str {
    match error {
        UpstreamError::Overloaded => "upstream-overloaded",
        UpstreamError::Open { .. } => "upstream-open",
        UpstreamError::Returned(_) => "upstream-returned",
        UpstreamError::Late(Stage::Connect) => "upstream-late-connect",
        UpstreamError::Late(Stage::Head) => "upstream-late-head",
        UpstreamError::Late(Stage::Body) => "upstream-late-body",
        UpstreamError::Unreachable(_) => "upstream-unreachable",
        UpstreamError::Tls(_) => "upstream-tls",
        UpstreamError::Broken(_) => "upstream-broken",
        UpstreamError::NotHttp(_) => "upstream-not-http",
        UpstreamError::TooLarge => "upstream-too-large",
        UpstreamError::Encoded(_) => "upstream-encoded",
        UpstreamError::Redirect(_) => "upstream-redirect",
        UpstreamError::Unaddressable => "upstream-unaddressable",
        UpstreamError::Unknown(_) => "upstream-unknown",
        UpstreamError::Entropy(_) => "entropy",
        UpstreamError::Unsigned(_) => "upstream-unsigned",
    }
}

/// Somebody else is at the same delivery: the next attempt gets its answer.
fn busy() -> Public {
    Public::new(StatusCode::SERVICE_UNAVAILABLE, "overloaded").retry_after(SOON)
}

fn store(error: &StoreError) -> Public {
    match error {
        StoreError::Full | StoreError::Down(_) | StoreError::Late => {
            Public::new(StatusCode::SERVICE_UNAVAILABLE, "store").retry_after(LATER)
        }
        StoreError::LeaseLost => busy(),
    }
}

const fn store_reason(error: &StoreError) -> &'static str {
    match error {
        StoreError::Full => "store-full",
        StoreError::Down(_) => "store-down",
        // Whose lease has ended finds somebody else at it.
        StoreError::LeaseLost => "delivery-busy",
        StoreError::Late => "store-late",
    }
}

/// What this gateway cannot read now is to be sent again: the sender did nothing wrong. A stranger who
/// chooses an id with any key's number gets no more than that.
fn id(error: IdError) -> Public {
    match error {
        IdError::UnknownKey => {
            Public::new(StatusCode::SERVICE_UNAVAILABLE, "keys-unavailable").retry_after(LATER)
        }
        IdError::Corrupt => {
            Public::new(StatusCode::SERVICE_UNAVAILABLE, "store").retry_after(LATER)
        }
        IdError::NotOurs
        | IdError::Forged
        | IdError::Expired
        | IdError::OtherClient
        | IdError::OtherService
        | IdError::NoSuchIndex => Public::new(StatusCode::GONE, "id-gone"),
    }
}

const fn token_reason(error: &TokenError) -> &'static str {
    match error {
        TokenError::Malformed => "link-malformed",
        TokenError::UnknownKey => "link-unknown-key",
        TokenError::Forged => "link-forged",
        TokenError::Orphaned => "link-orphaned",
        TokenError::Expired { .. } => "link-expired",
        TokenError::Forgotten { .. } => "link-forgotten",
        TokenError::StoredTarget => "link-stored-target",
    }
}

const fn id_reason(error: IdError) -> &'static str {
    match error {
        IdError::NotOurs => "id-not-ours",
        IdError::UnknownKey => "id-unknown-key",
        IdError::Forged => "id-forged",
        IdError::Expired => "id-expired",
        IdError::OtherClient => "id-other-client",
        IdError::OtherService => "id-other-service",
        IdError::NoSuchIndex => "id-no-such-index",
        IdError::Corrupt => "id-corrupt",
    }
}
