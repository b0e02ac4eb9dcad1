//! An authenticator with a clock that can be set, and calls on it.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hookgate::client_certificate::ClientCertificate;
use hookgate::clock::{ManualClock, UnixTime};
use hookgate::entropy::SeededEntropy;
use hookgate::gateway::auth;
use hookgate::gateway::auth::{
    AuthError, AuthReason, Authenticator, Called, ClientSettings, Examination, KeySettings,
    Outcome, Question, SettingsError, Verified,
};
use hookgate::names::{ClientId, ServiceId};
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::signer::Keys;

pub(crate) const NOW: UnixTime = UnixTime::from_secs(1_800_000_000);
pub(crate) const PUBLIC: &str = "https://gw.example.org";
pub(crate) const ISSUER: &str = "https://ehr.example.org/fhir";
pub(crate) const GREET: &str = "https://gw.example.org/cds-services/greet";

/// Settings as an operator writes them.
pub(crate) fn client(toml: &str) -> ClientSettings {
    toml::from_str(toml).unwrap_or_else(|e| panic!("{e}\n{toml}"))
}

/// A client with keys inline.
pub(crate) fn inline(id: &str, issuer: &str, set: Value, more: &str) -> ClientSettings {
    let mut settings = client(&format!("id = {id:?}\nissuer = {issuer:?}\n{more}"));
    settings.jwks = Some(set);
    settings
}

pub(crate) struct Gate {
    pub(crate) auth: Arc<Authenticator>,
    pub(crate) clock: ManualClock,
    pub(crate) registry: Registry,
    stop: CancellationToken,
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub(crate) fn build(
    clients: Vec<ClientSettings>,
    keys: KeySettings,
    state: Option<&Path>,
    clock: &ManualClock,
) -> (Result<Authenticator, SettingsError>, Registry) {
    let mut registry = Registry::default();
    let auth = Authenticator::new(
        clients,
        keys,
        &PUBLIC.parse().unwrap(),
        state,
        Arc::new(clock.clone()),
        Arc::new(SeededEntropy::new(7)),
        auth::Metrics::register(&mut registry),
    );
    (auth, registry)
}

impl Gate {
    pub(crate) fn open(clients: Vec<ClientSettings>, keys: KeySettings) -> Self {
        Self::open_at(clients, keys, None, ManualClock::new(NOW))
    }

    pub(crate) fn open_at(
        clients: Vec<ClientSettings>,
        keys: KeySettings,
        state: Option<&Path>,
        clock: ManualClock,
    ) -> Self {
        let (auth, registry) = build(clients, keys, state, &clock);
        let auth = Arc::new(auth.unwrap_or_else(|e| panic!("{e}")));
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        auth.start(&tasks, stop.clone());
        Self { auth, clock, registry, stop }
    }

    /// Other clients in the place of those before.
    pub(crate) fn reload(&mut self, clients: Vec<ClientSettings>, keys: &KeySettings) {
        let next = self.auth.renewed(clients, keys, &PUBLIC.parse().unwrap(), None);
        self.auth = Arc::new(next.unwrap_or_else(|e| panic!("{e}")));
        self.auth.start(&TaskTracker::new(), self.stop.clone());
    }

    /// A call of the service `greet` with `token`.
    pub(crate) async fn call(&self, token: &str) -> Result<Verified, AuthError> {
        let greet = ServiceId::new("greet").unwrap();
        self.call_of(&[&format!("Bearer {token}")], &Called::Service(&greet)).await
    }

    pub(crate) async fn reason(&self, token: &str) -> AuthReason {
        self.call(token).await.expect_err("accepted").reason().clone()
    }

    pub(crate) async fn call_of(
        &self,
        fields: &[&str],
        called: &Called<'_>,
    ) -> Result<Verified, AuthError> {
        self.auth.authenticate(&authorization(fields), called, None).await
    }

    /// The same over a connection on which `certificate` was shown.
    pub(crate) async fn call_over(
        &self,
        token: &str,
        certificate: Option<&ClientCertificate>,
    ) -> Result<Verified, AuthError> {
        let greet = ServiceId::new("greet").unwrap();
        let headers = authorization(&[&format!("Bearer {token}")]);
        self.auth.authenticate(&headers, &Called::Service(&greet), certificate).await
    }

    /// All that can be said about `token` in a call of the service `greet`.
    pub(crate) async fn examine(&self, token: &str) -> Examination {
        let greet = ServiceId::new("greet").unwrap();
        let called = Called::Service(&greet);
        self.examine_call(&[&format!("Bearer {token}")], &called, false).await
    }

    pub(crate) async fn examine_call(
        &self,
        fields: &[&str],
        called: &Called<'_>,
        live: bool,
    ) -> Examination {
        use hookgate::clock::Clock;
        let (headers, at) = (authorization(fields), self.clock.now());
        self.auth.examine(&Question { headers: &headers, called, at, assumed: None, live }).await
    }

    /// A fresh, good token of the client with this issuer.
    pub(crate) fn token(&self, keys: &Keys, issuer: &str, alg: &str, kid: &str) -> String {
        use hookgate::clock::Clock;
        let now = self.clock.now().secs();
        let header = json!({"alg": alg, "kid": kid, "typ": "JWT"});
        keys.token(alg, &header.to_string(), &claims(issuer, now).to_string())
    }

    /// Waits until the keys of `client` satisfy `is`: a task works on them beside this one.
    pub(crate) async fn until(&self, client: &str, is: impl Fn(&auth::KeyStatus) -> bool) {
        let id = ClientId::new(client).unwrap();
        let status = || self.auth.status().into_iter().find(|s| s.client == id).unwrap();
        for _ in 0..2000 {
            if is(&status()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("still {:?}", status());
    }

    pub(crate) fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        text
    }
}

fn authorization(fields: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for field in fields {
        headers.append(AUTHORIZATION, HeaderValue::from_bytes(field.as_bytes()).unwrap());
    }
    headers
}

/// The reason of the first check that failed.
pub(crate) fn first_failure(examination: &Examination) -> Option<AuthReason> {
    examination.findings.iter().find_map(|finding| match &finding.outcome {
        Outcome::Failed(reason) => Some(reason.clone()),
        Outcome::Passed | Outcome::Unsaid(_) => None,
    })
}

pub(crate) fn claims(issuer: &str, now: u64) -> Value {
    json!({
        "iss": issuer,
        "aud": GREET,
        "exp": now + 240,
        "iat": now,
        "jti": "5b2a3f0e-7c41-4f0e-9a51-000000000001",
    })
}
