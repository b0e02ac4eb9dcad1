//! Who is calling: a token against a client's settings and keys.
//!
//! The order is fixed: what costs nothing first, nothing that the token says believed before its
//! signature is verified, and whether the client may do this last, when it is known who it is.
//!
//! Whether the token has been used before is not asked here: that spends it, and comes after the body
//! has been read.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::Url;

use crate::clock::{Clock, UnixTime};
use crate::entropy::Entropy;
use crate::gateway::auth::audience::{AudienceRule, Called, Endpoints};
use crate::gateway::auth::bearer;
use crate::gateway::auth::claims::Claims;
use crate::gateway::auth::client::Client;
use crate::gateway::auth::error::{AuthError, AuthReason};
use crate::gateway::auth::jwk::VerifyingKey;
use crate::gateway::auth::keys::{ClientKeys, KeyStatus, NoKey};
use crate::gateway::auth::metrics::Metrics;
use crate::gateway::auth::problems::{SettingsError, SettingsProblem};
use crate::gateway::auth::settings::{ClientSettings, KeySettings, ReplayMode};
use crate::gateway::auth::setup::{Registered, Setup, check_keys, check_shared};
use crate::gateway::auth::shown::Shown;
use crate::gateway::auth::token::Unverified;
use crate::names::{ClientId, Tenant};

/// Knows the clients and verifies their tokens.
#[derive(Debug)]
pub struct Authenticator {
    by_issuer: HashMap<String, Registered>,
    order: Vec<Arc<ClientKeys>>,
    endpoints: Endpoints,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
}

/// Proof of a token that is good in every respect but one: whether it has been used before. Not
/// `Clone`, so that it is spent once.
#[derive(Debug)]
pub struct Verified {
    client: ClientId,
    issuer: String,
    tenant: Option<Tenant>,
    jti: String,
    issued_at: UnixTime,
    expires_at: UnixTime,
    keep_until: UnixTime,
    skew: Duration,
    replay: ReplayMode,
    audience_rule: AudienceRule,
    kid: Arc<str>,
}

impl Authenticator {
    /// Registers the clients. Keys that are inline, in files, or kept in `state_dir` from an earlier
    /// run are held at once; the others come once [`Authenticator::start`] was called.
    ///
    /// # Errors
    /// [`SettingsError`] with everything that is wrong.
    pub fn new(
        clients: Vec<ClientSettings>,
        keys: KeySettings,
        public_url: &Url,
        state_dir: Option<&Path>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        metrics: Metrics,
    ) -> Result<Self, SettingsError> {
        let setup = Setup {
            keys: &keys,
            state_dir,
            clock: Arc::clone(&clock),
            entropy,
            metrics: metrics.clone(),
        };
        let mut problems = check_keys(&keys);
        problems.extend(check_shared(&clients));
        let (mut by_issuer, mut order) = (HashMap::new(), Vec::new());
        for (index, settings) in clients.into_iter().enumerate() {
            match setup.register(&settings) {
                Ok(registered) => {
                    order.push(Arc::clone(&registered.keys));
                    by_issuer.insert(settings.issuer, registered);
                }
                Err(complaints) => {
                    problems.extend(complaints.into_iter().map(|(code, key, sentence)| {
                        let client = Some((index, settings.id.clone()));
                        SettingsProblem { client, code, key, sentence, other: None }
                    }))
                }
            }
        }
        if !problems.is_empty() {
            return Err(SettingsError(problems));
        }
        Ok(Self { by_issuer, order, endpoints: Endpoints::new(public_url), clock, metrics })
    }

    /// Starts one task per client that has keys to fetch or read; each ends with `stop`. From now on the
    /// gauges are of these clients.
    pub fn start(&self, tasks: &TaskTracker, stop: CancellationToken) {
        self.metrics.show(self.order.clone());
        for registered in self.by_issuer.values() {
            if let Some(refresher) = registered.refresher.clone() {
                tasks.spawn(refresher.run(stop.child_token()));
            }
        }
    }

    /// Verifies the token in `headers` for a call of `called`. Needs no body, and spends nothing.
    ///
    /// # Errors
    /// [`AuthError`]
    pub async fn authenticate(
        &self,
        headers: &HeaderMap,
        called: &Called<'_>,
    ) -> Result<Verified, AuthError> {
        let token = bearer::token(headers).map_err(AuthError::anonymous)?;
        let token = Unverified::parse(token).map_err(AuthError::anonymous)?;
        let issuer = token.claimed_issuer().map_err(AuthError::anonymous)?;
        let Some(registered) = self.by_issuer.get(&issuer) else {
            let reason = AuthReason::Issuer(Shown::new(&issuer));
            return Err(AuthError::of(reason, None, &issuer));
        };
        let client = &registered.client;
        let refused = |reason| AuthError::of(reason, Some(&client.id), &issuer);
        let key = verify(&token, client, &registered.keys).await.map_err(refused)?;
        let claims = Claims::parse(&token.payload).map_err(refused)?;
        let audience_rule = self.accept(&claims, client, called).map_err(refused)?;
        Ok(Verified {
            client: client.id.clone(),
            keep_until: claims.expires_at.plus(client.skew),
            skew: client.skew,
            issued_at: claims.issued_at,
            expires_at: claims.expires_at,
            jti: claims.jti.into_owned(),
            tenant: claims.tenant,
            replay: client.replay,
            audience_rule,
            kid: Arc::clone(key.kid()),
            issuer,
        })
    }

    /// The clients whose calls cannot be verified for want of keys.
    pub fn pending(&self) -> Vec<ClientId> {
        let pending = self.order.iter().filter(|keys| !keys.is_usable());
        pending.map(|keys| keys.client().clone()).collect()
    }

    /// What can be told about the keys, in the order of the configuration.
    pub fn status(&self) -> Vec<KeyStatus> {
        self.order.iter().map(|keys| keys.status()).collect()
    }

    /// Has the keys of `client` read again now, cool-down or not.
    pub fn refresh(&self, client: &ClientId) {
        for keys in self.order.iter().filter(|keys| keys.client() == client) {
            keys.progress().demand();
        }
    }

    fn accept(
        &self,
        claims: &Claims<'_>,
        client: &Client,
        called: &Called<'_>,
    ) -> Result<AudienceRule, AuthReason> {
        let sent = claims.audience.iter().map(AsRef::as_ref);
        let rule = self.endpoints.accept(&client.audience, sent, called);
        let rule =
            rule.ok_or_else(|| AuthReason::Audience(Shown::new(&claims.audience.join(" "))))?;
        check_times(claims, client, self.clock.now())?;
        match &claims.tenant {
            Some(tenant) if !client.knows_tenant(tenant) => {
                return Err(AuthReason::Tenant(Shown::new(tenant.as_str())));
            }
            None if client.needs_tenant() => return Err(AuthReason::TenantMissing),
            Some(_) | None => {}
        }
        match called.service() {
            Some(service) if !client.may_call(service) => {
                Err(AuthReason::ServiceForbidden(service.clone()))
            }
            Some(_) | None => Ok(rule),
        }
    }
}

async fn verify(
    token: &Unverified<'_>,
    client: &Client,
    keys: &ClientKeys,
) -> Result<Arc<VerifyingKey>, AuthReason> {
    let header = &token.header;
    let algorithm = header.algorithm.clone().map_err(AuthReason::Algorithm)?;
    if !client.algorithms.contains(&algorithm) {
        return Err(AuthReason::Algorithm(Shown::new(&format!("{algorithm:?}"))));
    }
    if let Some(jku) = header.jku.as_ref().filter(|jku| !client.jku.contains(jku)) {
        return Err(AuthReason::Jku(Shown::new(jku)));
    }
    let kid = || Shown::new(&header.kid);
    let key = keys.find(&header.kid).await.map_err(|none| match none {
        NoKey::Unknown => AuthReason::KidUnknown(kid()),
        NoKey::Refused(fault) => AuthReason::KeyRefused { kid: kid(), fault: fault.code() },
        NoKey::Unavailable { retry_after } => AuthReason::KeysUnavailable { retry_after },
    })?;
    if !key.is_for(algorithm) {
        keys.suspect();
        return Err(AuthReason::KeyMismatch(kid()));
    }
    if !key.verifies(algorithm, token.message, &token.signature) {
        keys.suspect();
        return Err(AuthReason::Signature);
    }
    Ok(key)
}

fn check_times(claims: &Claims<'_>, client: &Client, now: UnixTime) -> Result<(), AuthReason> {
    let (skew, max) = (client.skew, client.max_lifetime);
    if now >= claims.expires_at.plus(skew) {
        return Err(AuthReason::Expired);
    }
    if claims.issued_at > now.plus(skew) {
        return Err(AuthReason::IssuedInFuture);
    }
    if claims.not_before.is_some_and(|at| at > now.plus(skew)) {
        return Err(AuthReason::NotYetValid);
    }
    let runs_backwards = claims.expires_at <= claims.issued_at;
    let lives_long = claims.expires_at.since(claims.issued_at) > max;
    let stays_long = claims.expires_at.since(now) > max.saturating_add(skew);
    if runs_backwards || lives_long || stays_long {
        return Err(AuthReason::Lifetime);
    }
    Ok(())
}

impl Verified {
    /// Who is calling.
    pub const fn client(&self) -> &ClientId {
        &self.client
    }

    /// The token's `iss`.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// The token's `tenant`.
    pub const fn tenant(&self) -> Option<&Tenant> {
        self.tenant.as_ref()
    }

    /// The token's `jti`.
    pub fn jti(&self) -> &str {
        &self.jti
    }

    /// The token's `iat`.
    pub const fn issued_at(&self) -> UnixTime {
        self.issued_at
    }

    /// The token's `exp`.
    pub const fn expires_at(&self) -> UnixTime {
        self.expires_at
    }

    /// Until when its `jti` must be remembered: `exp` and the client's skew.
    pub const fn keep_until(&self) -> UnixTime {
        self.keep_until
    }

    /// How far its client's clock may be off: by so much it may have been used before its `iat`.
    pub const fn clock_skew(&self) -> Duration {
        self.skew
    }

    /// What happens if it was used before.
    pub const fn replay(&self) -> ReplayMode {
        self.replay
    }

    /// Which rule accepted its `aud`.
    pub const fn audience_rule(&self) -> AudienceRule {
        self.audience_rule
    }

    /// The key that it was signed with.
    pub fn kid(&self) -> &str {
        &self.kid
    }
}
