//! The checks of a token against its client, each by itself.
//!
//! The authenticator makes them one after the other and ends with the first that fails; an examination
//! makes all of them. So the two cannot judge differently.

use std::sync::Arc;

use crate::clock::UnixTime;
use crate::gateway::auth::algorithm::Algorithm;
use crate::gateway::auth::audience::{AudienceRule, Called, Endpoints};
use crate::gateway::auth::client::Client;
use crate::gateway::auth::error::AuthReason;
use crate::gateway::auth::jwk::VerifyingKey;
use crate::gateway::auth::keys::{ClientKeys, NoKey};
use crate::gateway::auth::shown::Shown;
use crate::names::Tenant;

/// The client may sign with it.
pub(super) fn allowed(algorithm: Algorithm, client: &Client) -> Result<(), AuthReason> {
    if client.algorithms.contains(&algorithm) {
        return Ok(());
    }
    Err(AuthReason::Algorithm(Shown::new(&format!("{algorithm:?}"))))
}

/// `jku`, where there is one, is the client's.
pub(super) fn jku(jku: Option<&str>, client: &Client) -> Result<(), AuthReason> {
    match jku.filter(|jku| !client.jku.iter().any(|known| known == jku)) {
        Some(other) => Err(AuthReason::Jku(Shown::new(other))),
        None => Ok(()),
    }
}

/// The client has the key that `kid` names.
pub(super) async fn key(kid: &str, keys: &ClientKeys) -> Result<Arc<VerifyingKey>, AuthReason> {
    keys.find(kid).await.map_err(|none| match none {
        NoKey::Unknown => AuthReason::KidUnknown(Shown::new(kid)),
        NoKey::Refused(fault) => {
            AuthReason::KeyRefused { kid: Shown::new(kid), fault: fault.code() }
        }
        NoKey::Unavailable { retry_after } => AuthReason::KeysUnavailable { retry_after },
    })
}

/// The key is one for this algorithm.
pub(super) fn fits(key: &VerifyingKey, algorithm: Algorithm) -> Result<(), AuthReason> {
    if key.is_for(algorithm) { Ok(()) } else { Err(AuthReason::KeyMismatch(Shown::new(key.kid()))) }
}

/// The signature is the key's.
pub(super) fn signature(
    key: &VerifyingKey,
    algorithm: Algorithm,
    message: &[u8],
    signature: &Vec<u8>,
) -> Result<(), AuthReason> {
    if key.verifies(algorithm, message, signature) { Ok(()) } else { Err(AuthReason::Signature) }
}

/// The token is meant for this call.
pub(super) fn audience<S: AsRef<str>>(
    sent: &[S],
    client: &Client,
    endpoints: &Endpoints,
    called: &Called<'_>,
) -> Result<AudienceRule, AuthReason> {
    let rule = endpoints.accept(&client.audience, sent.iter().map(AsRef::as_ref), called);
    rule.ok_or_else(|| {
        let sent: Vec<&str> = sent.iter().map(AsRef::as_ref).collect();
        AuthReason::Audience(Shown::new(&sent.join(" ")))
    })
}

/// `exp` lies ahead.
pub(super) fn not_expired(
    expires_at: UnixTime,
    client: &Client,
    now: UnixTime,
) -> Result<(), AuthReason> {
    if now >= expires_at.plus(client.skew) { Err(AuthReason::Expired) } else { Ok(()) }
}

/// `iat` does not lie ahead.
pub(super) fn issued(
    issued_at: UnixTime,
    client: &Client,
    now: UnixTime,
) -> Result<(), AuthReason> {
    if issued_at > now.plus(client.skew) { Err(AuthReason::IssuedInFuture) } else { Ok(()) }
}

/// `nbf` does not lie ahead.
pub(super) fn begun(
    not_before: Option<UnixTime>,
    client: &Client,
    now: UnixTime,
) -> Result<(), AuthReason> {
    if not_before.is_some_and(|at| at > now.plus(client.skew)) {
        return Err(AuthReason::NotYetValid);
    }
    Ok(())
}

/// It lives no longer than the client's tokens may: from `iat` on, and from now on.
pub(super) fn lifetime(
    issued_at: UnixTime,
    expires_at: UnixTime,
    client: &Client,
    now: UnixTime,
) -> Result<(), AuthReason> {
    let max = client.max_lifetime;
    let runs_backwards = expires_at <= issued_at;
    let lives_long = expires_at.since(issued_at) > max;
    let stays_long = expires_at.since(now) > max.saturating_add(client.skew);
    if runs_backwards || lives_long || stays_long {
        return Err(AuthReason::Lifetime);
    }
    Ok(())
}

/// The tenant is one of the client's.
pub(super) fn tenant(tenant: Option<&Tenant>, client: &Client) -> Result<(), AuthReason> {
    match tenant {
        Some(tenant) if !client.knows_tenant(tenant) => {
            Err(AuthReason::Tenant(Shown::new(tenant.as_str())))
        }
        None if client.needs_tenant() => Err(AuthReason::TenantMissing),
        Some(_) | None => Ok(()),
    }
}

/// The client may call this service.
pub(super) fn service(called: &Called<'_>, client: &Client) -> Result<(), AuthReason> {
    match called.service() {
        Some(service) if !client.may_call(service) => {
            Err(AuthReason::ServiceForbidden(service.clone()))
        }
        Some(_) | None => Ok(()),
    }
}
