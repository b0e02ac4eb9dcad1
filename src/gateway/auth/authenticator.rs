//! Who is calling: a token against a client's settings and keys.
//!
//! The order is fixed: what costs nothing first, nothing that the token says believed before its
//! signature is verified, and whether the client may do this last, when it is known who it is.
//!
//! Whether the token has been used before is not asked here: that spends it, and comes after the body
//! has been read.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use url::Url;

use crate::client_certificate::ClientCertificate;
use crate::clock::{Clock, UnixTime};
use crate::entropy::Entropy;
use crate::gateway::auth::audience::{AudienceRule, Called, Endpoints};
use crate::gateway::auth::bearer;
use crate::gateway::auth::binding::Bindings;
use crate::gateway::auth::checks;
use crate::gateway::auth::claims::{Claims, Payload};
use crate::gateway::auth::client::Client;
use crate::gateway::auth::error::{AuthError, AuthReason};
use crate::gateway::auth::jwk::VerifyingKey;
use crate::gateway::auth::keys::KeyStatus;
use crate::gateway::auth::metrics::Metrics;
use crate::gateway::auth::problems::{SettingsError, SettingsProblem};
use crate::gateway::auth::settings::{ClientSettings, KeySettings, ReplayMode};
use crate::gateway::auth::setup::{Registered, Setup, Supply, check_keys, check_shared};
use crate::gateway::auth::shown::Shown;
use crate::gateway::auth::token::{Header, NEVER_TAKEN, Parts, known};
use crate::names::{ClientId, Tenant};

/// Knows the clients and verifies their tokens.
#[derive(Debug)]
pub struct Authenticator {
    pub(super) by_issuer: HashMap<String, Registered>,
    order: Vec<Arc<Supply>>,
    pub(super) endpoints: Endpoints,
    pub(super) bindings: Bindings,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
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
    confirmed: Option<String>,
    issued_at: UnixTime,
    expires_at: UnixTime,
    keep_until: UnixTime,
    skew: Duration,
    replay: ReplayMode,
    audience_rule: AudienceRule,
    kid: Arc<str>,
}

/// What became of a wish to have a client's keys read again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refreshed {
    /// They were: these are held now.
    Read(Vec<String>),
    /// They were not, for the reason with this code. Those from before are held.
    Failed(&'static str),
    /// It is not over yet.
    Pending,
    /// They stand in the configuration, and are read with it.
    Inline,
    /// There is no such client.
    Unknown,
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
        let keys = &keys;
        let setup = Setup { keys, state_dir, clock, entropy, metrics, before: None };
        Self::register(clients, setup, public_url)
    }

    /// The clients of a changed configuration. Those whose keys come from where they came from before keep
    /// them, and all that is known of them; the others' are held as at [`Authenticator::new`], and none of
    /// them is [`pending`](Authenticator::pending).
    ///
    /// # Errors
    /// [`SettingsError`] with everything that is wrong.
    pub fn renewed(
        &self,
        clients: Vec<ClientSettings>,
        keys: &KeySettings,
        public_url: &Url,
        state_dir: Option<&Path>,
    ) -> Result<Self, SettingsError> {
        let setup = Setup {
            keys,
            state_dir,
            clock: Arc::clone(&self.clock),
            entropy: Arc::clone(&self.entropy),
            metrics: self.metrics.clone(),
            before: Some(&self.order),
        };
        Self::register(clients, setup, public_url)
    }

    fn register(
        clients: Vec<ClientSettings>,
        setup: Setup<'_>,
        public_url: &Url,
    ) -> Result<Self, SettingsError> {
        let mut problems = check_keys(setup.keys);
        problems.extend(check_shared(&clients));
        let (mut by_issuer, mut order) = (HashMap::new(), Vec::new());
        let mut bindings = Bindings::default();
        for (index, settings) in clients.into_iter().enumerate() {
            match setup.register(&settings) {
                Ok(registered) => {
                    order.push(Arc::clone(&registered.supply));
                    bindings.bind(settings.id, settings.certificates);
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
        let Setup { clock, entropy, metrics, .. } = setup;
        let endpoints = Endpoints::new(public_url);
        Ok(Self { by_issuer, order, endpoints, bindings, clock, entropy, metrics })
    }

    /// Starts one task per client that has keys to fetch or read, where none runs from before; each ends with
    /// `stop`, or when nobody has the client any more. From now on the gauges are of these clients.
    pub fn start(&self, tasks: &TaskTracker, stop: CancellationToken) {
        self.metrics.show(self.order.iter().map(|supply| Arc::clone(&supply.keys)).collect());
        for supply in &self.order {
            supply.start(tasks, stop.child_token());
        }
    }

    /// Verifies the token in `headers` for a call of `called` over a connection on which `certificate` was
    /// shown. Needs no body, and spends nothing.
    ///
    /// # Errors
    /// [`AuthError`]
    pub async fn authenticate(
        &self,
        headers: &HeaderMap,
        called: &Called<'_>,
        certificate: Option<&ClientCertificate>,
    ) -> Result<Verified, AuthError> {
        let verified = self.decide(headers, called, self.clock.now()).await?;
        let (client, confirmed) = (&verified.client, verified.confirmed.as_deref());
        self.bindings
            .check(client, confirmed, certificate)
            .map_err(|reason| AuthError::of(reason, Some(client), &verified.issuer))?;
        Ok(verified)
    }

    /// The same at any time, over whichever connection.
    pub(super) async fn decide(
        &self,
        headers: &HeaderMap,
        called: &Called<'_>,
        now: UnixTime,
    ) -> Result<Verified, AuthError> {
        let anonymous = AuthError::anonymous;
        let token = bearer::token(headers).map_err(anonymous)?;
        let parts = Parts::cut(token).map_err(anonymous)?;
        let header = parts.header().map_err(anonymous)?;
        let claimed =
            Claimed::read(&Header::parse(&header).map_err(anonymous)?).map_err(anonymous)?;
        let signature = parts.signature().map_err(anonymous)?;
        let payload = parts.payload().map_err(anonymous)?;
        let payload = Payload::parse(&payload).map_err(anonymous)?;
        let issuer = payload.issuer().map_err(anonymous)?;
        let Some(registered) = self.by_issuer.get(issuer.as_ref()) else {
            let reason = AuthReason::Issuer(Shown::new(&issuer));
            return Err(AuthError::of(reason, None, &issuer));
        };
        let client = &registered.client;
        let refused = |reason| AuthError::of(reason, Some(&client.id), &issuer);
        let key = verify(&claimed, parts.message(), &signature, registered).await;
        let key = key.map_err(refused)?;
        let claims = Claims::read(&payload).map_err(refused)?;
        let audience_rule = self.accept(&claims, client, called, now).map_err(refused)?;
        Ok(Verified {
            client: client.id.clone(),
            keep_until: claims.expires_at.plus(client.skew),
            skew: client.skew,
            issued_at: claims.issued_at,
            expires_at: claims.expires_at,
            jti: claims.jti.into_owned(),
            confirmed: claims.confirmed.map(Cow::into_owned),
            tenant: claims.tenant,
            replay: client.replay,
            audience_rule,
            kid: Arc::clone(key.kid()),
            issuer: issuer.into_owned(),
        })
    }

    /// The clients whose calls cannot be verified for want of keys, and are to wait elsewhere.
    pub fn pending(&self) -> Vec<ClientId> {
        self.without_keys(|supply| supply.is_awaited)
    }

    /// The clients whose calls cannot be verified for want of keys, and that nobody waits for: those that a
    /// reload has brought.
    pub fn missing(&self) -> Vec<ClientId> {
        self.without_keys(|supply| !supply.is_awaited)
    }

    fn without_keys(&self, which: impl Fn(&Supply) -> bool) -> Vec<ClientId> {
        let without = self.order.iter().filter(|supply| which(supply) && !supply.keys.is_usable());
        without.map(|supply| supply.keys.client().clone()).collect()
    }

    /// What can be told about the keys, in the order of the configuration.
    pub fn status(&self) -> Vec<KeyStatus> {
        self.order.iter().map(|supply| supply.keys.status()).collect()
    }

    /// Has the keys of `client` read again now, cool-down or not, and waits for the end of that, but not for
    /// longer than `at_most`.
    pub async fn refresh(&self, client: &ClientId, at_most: Duration) -> Refreshed {
        let mut all = self.order.iter().map(|supply| &supply.keys);
        let Some(keys) = all.find(|keys| keys.client() == client) else {
            return Refreshed::Unknown;
        };
        if !keys.has_source() {
            return Refreshed::Inline;
        }
        let progress = keys.progress();
        match progress.ended(progress.demand(), at_most).await {
            Some(Ok(())) => Refreshed::Read(keys.status().kids),
            Some(Err(())) => Refreshed::Failed(progress.error().unwrap_or("failed")),
            None => Refreshed::Pending,
        }
    }

    fn accept(
        &self,
        claims: &Claims<'_>,
        client: &Client,
        called: &Called<'_>,
        now: UnixTime,
    ) -> Result<AudienceRule, AuthReason> {
        let rule = checks::audience(&claims.audience, client, &self.endpoints, called)?;
        checks::not_expired(claims.expires_at, client, now)?;
        checks::issued(claims.issued_at, client, now)?;
        checks::begun(claims.not_before, client, now)?;
        checks::lifetime(claims.issued_at, claims.expires_at, client, now)?;
        checks::tenant(claims.tenant.as_ref(), client)?;
        checks::service(called, client)?;
        Ok(rule)
    }
}

/// What the header says about how the token is signed. Nothing of it is believed.
struct Claimed<'a> {
    alg: Cow<'a, str>,
    kid: Cow<'a, str>,
    jku: Option<Cow<'a, str>>,
}

impl<'a> Claimed<'a> {
    fn read(header: &Header<'a>) -> Result<Self, AuthReason> {
        for (name, fault) in &NEVER_TAKEN {
            header.lacks(name, fault)?;
        }
        header.is_not_nested()?;
        header.typ()?;
        Ok(Self { alg: header.alg()?, kid: header.kid()?, jku: header.jku()? })
    }
}

async fn verify(
    claimed: &Claimed<'_>,
    message: &[u8],
    signature: &Vec<u8>,
    registered: &Registered,
) -> Result<Arc<VerifyingKey>, AuthReason> {
    let (client, keys) = (&registered.client, &registered.supply.keys);
    let algorithm = known(&claimed.alg)?;
    checks::allowed(algorithm, client)?;
    checks::jku(claimed.jku.as_deref(), client)?;
    let key = checks::key(&claimed.kid, keys).await?;
    checks::fits(&key, algorithm)
        .and_then(|()| checks::signature(&key, algorithm, message, signature))
        .inspect_err(|_| keys.suspect())?;
    Ok(key)
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
