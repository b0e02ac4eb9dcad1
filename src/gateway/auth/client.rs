//! A client as its settings say it is, each part checked.

use std::collections::HashSet;
use std::path::Path;
use std::time::Duration;

use url::{Host, Url};

use crate::gateway::auth::algorithm::Algorithm;
use crate::gateway::auth::public_keys::belongs_to_test_client;
use crate::gateway::auth::settings::{AudienceSetting, ClientSettings, ReplayMode};
use crate::names::{ClientId, ServiceId, Tenant};
use crate::problem::Code;

/// Whom a client is, and what it may do. Its keys are elsewhere.
#[derive(Debug)]
pub(super) struct Client {
    /// What the operator calls it.
    pub(super) id: ClientId,
    /// Its `jku`s.
    pub(super) jku: Vec<String>,
    /// What it may sign with.
    pub(super) algorithms: Vec<Algorithm>,
    /// What it may send as `aud`.
    pub(super) audience: Vec<AudienceSetting>,
    /// How long its tokens may live.
    pub(super) max_lifetime: Duration,
    /// How far its clock may be off.
    pub(super) skew: Duration,
    /// What happens to a token that returns.
    pub(super) replay: ReplayMode,
    tenants: HashSet<Tenant>,
    services: HashSet<ServiceId>,
}

/// Ten years: the specification's own example token lives for three and a half.
const LONGEST_LIFETIME: Duration = Duration::from_secs(10 * 366 * 86_400);

/// More would no longer be a skew.
pub(super) const LARGEST_SKEW: Duration = Duration::from_secs(10 * 60);

/// A complaint: what kind, which key, and a sentence.
pub(super) type Complaint = (Code, &'static str, String);

impl Client {
    /// Reads everything but the keys; what is wrong goes to `complaints`.
    pub(super) fn read(settings: &ClientSettings, complaints: &mut Vec<Complaint>) -> Self {
        check_texts(settings, complaints);
        check_times(settings, complaints);
        check_test_client(settings, complaints);
        let jku = match (&settings.jwks_url, settings.jku.is_empty()) {
            (Some(url), true) => vec![url.clone()],
            (Some(_) | None, _) => settings.jku.clone(),
        };
        Self {
            id: settings.id.clone(),
            jku,
            algorithms: settings.algorithms.clone(),
            audience: settings.audience.clone(),
            max_lifetime: settings.max_lifetime.get(),
            skew: settings.clock_skew.get(),
            replay: settings.replay,
            tenants: settings.tenants.iter().cloned().collect(),
            services: settings.services.iter().cloned().collect(),
        }
    }

    /// Whether it may call this service.
    pub(super) fn may_call(&self, service: &ServiceId) -> bool {
        self.services.is_empty() || self.services.contains(service)
    }

    /// The services that it may call, in words.
    pub(super) fn services(&self) -> Vec<String> {
        list(self.services.iter().map(ServiceId::as_str))
    }

    /// The tenants that its tokens may name, in words.
    pub(super) fn tenants(&self) -> Vec<String> {
        list(self.tenants.iter().map(Tenant::as_str))
    }

    /// Whether it has a list of tenants, one of which its tokens must name.
    pub(super) fn needs_tenant(&self) -> bool {
        !self.tenants.is_empty()
    }

    /// Whether this tenant may be named.
    pub(super) fn knows_tenant(&self, tenant: &Tenant) -> bool {
        self.tenants.is_empty() || self.tenants.contains(tenant)
    }
}

fn list<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut names: Vec<String> = names.map(str::to_owned).collect();
    names.sort();
    if names.is_empty() { vec!["any".to_owned()] } else { names }
}

/// Where a client's keys come from, as its settings name it.
#[derive(Debug)]
pub(super) enum KeyOrigin<'a> {
    /// `jwks_url`, checked.
    Server(Url),
    /// `jwks_file`
    File(&'a Path),
    /// `jwks`
    Inline(&'a serde_json::Value),
}

impl<'a> KeyOrigin<'a> {
    /// The one source that is named; a complaint where there is none, or more, or one not to be used.
    pub(super) fn read(
        settings: &'a ClientSettings,
        complaints: &mut Vec<Complaint>,
    ) -> Option<Self> {
        match (&settings.jwks_url, &settings.jwks_file, &settings.jwks) {
            (Some(url), None, None) => match key_server(url, settings.allow_private_key_server) {
                Ok(url) => Some(Self::Server(url)),
                Err(sentence) => {
                    complaints.push((Code::BadValue, "jwks_url", sentence.to_owned()));
                    None
                }
            },
            (None, Some(path), None) => Some(Self::File(path)),
            (None, None, Some(set)) => Some(Self::Inline(set)),
            (None, None, None) => {
                let sentence =
                    "no source of keys; write jwks_url = \"https://…\", jwks_file or jwks";
                complaints.push((Code::MissingKey, "jwks_url", sentence.to_owned()));
                None
            }
            _ => {
                let sentence =
                    "more than one source of keys; keep one of jwks_url, jwks_file, jwks";
                complaints.push((Code::Conflict, "jwks_url", sentence.to_owned()));
                None
            }
        }
    }
}

fn key_server(text: &str, private: bool) -> Result<Url, &'static str> {
    let url: Url = text.parse().map_err(|_| "not a URL; write \"https://host/path\"")?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err("a user or password in the URL is not sent; a JWK Set is public, remove it");
    }
    let here = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        None => return Err("a URL without a host; write \"https://host/path\""),
    };
    match url.scheme() {
        "https" => Ok(url),
        "http" if here && private => Ok(url),
        "http" if here => Err("plain http; write https, or allow_private_key_server = true"),
        _ => Err("keys are fetched by https alone; write \"https://host/path\""),
    }
}

fn check_texts(settings: &ClientSettings, complaints: &mut Vec<Complaint>) {
    let mut complain =
        |key, sentence: &str| complaints.push((Code::BadValue, key, sentence.to_owned()));
    if settings.issuer.is_empty() {
        complain("issuer", "empty; write the iss of the client's tokens");
    } else if settings.issuer.trim() != settings.issuer {
        complain("issuer", "blanks around it are compared too; remove them");
    }
    if settings.algorithms.is_empty() {
        complain("algorithms", "empty, so no token could pass; write [\"ES384\", \"RS384\"]");
    }
    if settings.audience.is_empty() {
        complain("audience", "empty, so no token could pass; write [\"endpoint\", \"service\"]");
    }
    if settings.audience.contains(&AudienceSetting::Literal(String::new())) {
        complain("audience", "an empty literal; remove it");
    }
    if settings.jku.iter().any(String::is_empty) {
        complain("jku", "an empty value; remove it");
    }
}

fn check_times(settings: &ClientSettings, complaints: &mut Vec<Complaint>) {
    let lifetime = settings.max_lifetime.get();
    if lifetime < Duration::from_secs(1) || lifetime > LONGEST_LIFETIME {
        let sentence = "outside of 1 second to 10 years; write \"5m\" unless the client needs more";
        complaints.push((Code::OutOfRange, "max_lifetime", sentence.to_owned()));
    }
    if settings.clock_skew.get() > LARGEST_SKEW {
        let sentence = "more than 10 minutes; write \"30s\", or have the client's clock set";
        complaints.push((Code::OutOfRange, "clock_skew", sentence.to_owned()));
    }
}

fn check_test_client(settings: &ClientSettings, complaints: &mut Vec<Complaint>) {
    if settings.allow_public_test_keys {
        return;
    }
    let sentence = "the private key of this test client is public, so anybody can sign as it; \
                    use another client, or write allow_public_test_keys = true on a test system";
    if belongs_to_test_client(&settings.issuer) {
        complaints.push((Code::PublicTestKey, "issuer", sentence.to_owned()));
    } else if settings.jwks_url.as_deref().is_some_and(belongs_to_test_client) {
        complaints.push((Code::PublicTestKey, "jwks_url", sentence.to_owned()));
    }
}
