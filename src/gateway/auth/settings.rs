//! What an operator says about the clients and their keys.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::client_certificate::CertificateName;
use crate::gateway::auth::algorithm::Algorithm;
use crate::names::{ClientId, ServiceId, Tenant};
use crate::units::{ByteSize, Period};

/// One CDS client (an EHR) that may call: `[[client]]`.
///
/// There is no default for a whole client: `id`, `issuer` and one source of keys must be named.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientSettings {
    /// What this client is called in logs, metrics and upstream headers.
    #[schemars(example = &"my-ehr")]
    pub id: ClientId,
    /// The JWT's `iss`, compared character by character. No two clients share one.
    #[schemars(example = &"https://ehr.example.org/fhir")]
    pub issuer: String,
    /// Where the client publishes its JWK Set. Exactly one of `jwks_url`, `jwks_file`, `jwks`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_url: Option<String>,
    /// A file with its JWK Set, read again whenever its content changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_file: Option<PathBuf>,
    /// The JWK Set itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks: Option<serde_json::Value>,
    /// The `jku` header values this client may send, compared character by character. Empty means
    /// `jwks_url` where that is set, else none. Nothing is ever fetched from them.
    #[serde(default)]
    pub jku: Vec<String>,
    /// The algorithms it may sign with. The default is what CDS Hooks recommends.
    #[serde(default = "recommended")]
    pub algorithms: Vec<Algorithm>,
    /// What its `aud` may be: `"endpoint"` (the exact URL called, what the standard says),
    /// `"service"` (for feedback and analytics: the URL of the service, as Epic sends), `"base"`
    /// (`{public_url}/cds-services`), `"prefix"` (any whole-segment prefix of the endpoint), or a
    /// literal value.
    #[serde(default = "endpoint_and_service")]
    pub audience: Vec<AudienceSetting>,
    /// The longest time from `iat` to `exp`, and from now to `exp`. The default is what the public
    /// clients sign; Epic needs `"15m"`. A token's `jti` must be remembered for that long.
    #[serde(default = "five_minutes")]
    pub max_lifetime: Period,
    /// How far the client's clock may be off. The default forgives what NTP leaves over, and the
    /// sandbox, which signs `iat` half a second ahead.
    #[serde(default = "half_a_minute")]
    pub clock_skew: Period,
    /// What happens to a token that comes a second time.
    #[serde(default)]
    pub replay: ReplayMode,
    /// The `tenant` values it may send; one of them is then required. Empty means any, or none.
    #[serde(default)]
    pub tenants: Vec<Tenant>,
    /// The certificates it shows, where `listener.client_certificates` asks for some: its calls must come
    /// over a connection on which one of these was shown, and no other client's may. Each is `"dns:…"` or
    /// `"uri:…"` (an alternative name), `"subject:…"` (RFC 4514), `"sha256:…"` (the certificate's fingerprint)
    /// or `"spki-sha256:…"` (its public key's). Several while one replaces another. Empty: with none, or
    /// with one that is no other client's.
    #[serde(default)]
    pub certificates: Vec<CertificateName>,
    /// The services it may call. Empty means all.
    #[serde(default)]
    pub services: Vec<ServiceId>,
    /// Accepts an issuer, or keys, whose private keys are published: the CDS Hooks sandboxes, Inferno
    /// and others. Anybody can then sign as this client. For tests only.
    #[serde(default)]
    pub allow_public_test_keys: bool,
    /// Lets `jwks_url` lead to a private or loopback address, and be plain http to this machine.
    #[serde(default)]
    pub allow_private_key_server: bool,
    /// PEM file with the certificates that the key server's must chain to, instead of the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_server_ca_file: Option<PathBuf>,
}

fn recommended() -> Vec<Algorithm> {
    vec![Algorithm::ES384, Algorithm::RS384]
}

fn endpoint_and_service() -> Vec<AudienceSetting> {
    vec![AudienceSetting::Endpoint, AudienceSetting::Service]
}

const fn five_minutes() -> Period {
    Period::secs(5 * 60)
}

const fn half_a_minute() -> Period {
    Period::secs(30)
}

/// One entry of [`ClientSettings::audience`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "String", into = "String")]
pub enum AudienceSetting {
    /// The exact URL that is called.
    Endpoint,
    /// The service's URL, also for its feedback and analytics.
    Service,
    /// `{public_url}/cds-services`.
    Base,
    /// Any prefix of the endpoint that ends where a path segment ends, the origin at least.
    Prefix,
    /// Exactly this text.
    Literal(String),
}

impl From<String> for AudienceSetting {
    fn from(text: String) -> Self {
        match text.as_str() {
            "endpoint" => Self::Endpoint,
            "service" => Self::Service,
            "base" => Self::Base,
            "prefix" => Self::Prefix,
            _ => Self::Literal(text),
        }
    }
}

impl From<AudienceSetting> for String {
    fn from(setting: AudienceSetting) -> Self {
        match setting {
            AudienceSetting::Endpoint => "endpoint".to_owned(),
            AudienceSetting::Service => "service".to_owned(),
            AudienceSetting::Base => "base".to_owned(),
            AudienceSetting::Prefix => "prefix".to_owned(),
            AudienceSetting::Literal(text) => text,
        }
    }
}

/// What happens to a token whose (`iss`, `jti`) was seen before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ReplayMode {
    /// It is refused.
    #[default]
    Reject,
    /// It is let through and reported.
    Observe,
    /// It is let through only with the identical method, URL and body: an honest retry.
    SameRequest,
}

/// How keys are fetched and kept: `[jwks]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct KeySettings {
    /// A set is never fetched again sooner than this after a success, whatever its server says, except
    /// for an unknown `kid`. Spares servers that say `no-store`.
    pub refresh_floor: Period,
    /// A set is fetched again at the latest after this, whatever its server says, so that a withdrawn
    /// key does not live on.
    pub refresh_ceiling: Period,
    /// How long a set is fresh where its server says nothing.
    pub default_ttl: Period,
    /// How long after its last successful fetch a set may still be used. Then calls of its client are
    /// answered 503. Long enough for an outage over night, short enough for a revoked key to die.
    pub max_stale: Period,
    /// The most that one fetch may take, name resolution and body included.
    pub fetch_timeout: Period,
    /// The largest answer or file that is read. Real sets have a few KiB.
    pub max_size: ByteSize,
    /// After any fetch, failed ones included, an unknown `kid` causes no further one for this long.
    pub unknown_kid_cooldown: Period,
    /// The longest that a call with an unknown `kid` waits for the fetch that it caused. Within what a
    /// clinician does not notice.
    pub unknown_kid_wait: Period,
    /// The first pause after a failed fetch; it doubles with each further failure.
    pub backoff_min: Period,
    /// The longest pause between failed fetches.
    pub backoff_max: Period,
    /// How many `kid`s that were looked for in vain are remembered per client.
    pub unknown_kids_kept: u32,
    /// How often a `jwks_file` is read again.
    pub file_poll: Period,
}

impl Default for KeySettings {
    fn default() -> Self {
        Self {
            refresh_floor: Period::secs(60),
            refresh_ceiling: Period::secs(24 * 3600),
            default_ttl: Period::secs(15 * 60),
            max_stale: Period::secs(24 * 3600),
            fetch_timeout: Period::secs(5),
            max_size: ByteSize::kib(256),
            unknown_kid_cooldown: Period::secs(30),
            unknown_kid_wait: Period::millis(250),
            backoff_min: Period::secs(1),
            backoff_max: Period::secs(5 * 60),
            unknown_kids_kept: 1024,
            file_poll: Period::secs(30),
        }
    }
}
