//! The configuration: every step's settings, put together, and what spans several of them.
//!
//! No step sees more than its own part.

pub mod public_url;
pub mod client;

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use figment::Figment;
use figment::providers::{Env, Format, Toml};
use serde::{Deserialize, Serialize};

use crate::body;
use crate::config::client::Client;
use crate::config::public_url::PublicUrl;
use crate::doors;
use crate::gateway::auth;
use crate::gateway::cors;
use crate::gateway::discovery;
use crate::gateway::limit;
use crate::gateway::service;
use crate::gateway::upstream;
use crate::health;
use crate::names::UpstreamId;
use crate::peer::TrustedProxies;
use crate::store;

/// Environment variables that override the file: `HOOKGATE__LISTENER__ADDRESS` for `listener.address`.
/// Two underscores, because Kubernetes sets `HOOKGATE_SERVICE_HOST` and the like by itself.
pub const ENV_PREFIX: &str = "HOOKGATE__";

/// Everything an operator can say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The URL under which EHRs and browsers reach this gateway. All URLs it gives out begin with it, and
    /// what a token must be addressed to is computed from it, never from a Host field.
    pub public_url: PublicUrl,
    /// Proxies in front of this gateway that are believed about the client's address.
    #[serde(default)]
    pub trusted_proxies: TrustedProxies,
    /// The public listener.
    #[serde(default)]
    pub listener: doors::Settings,
    /// The health listener.
    #[serde(default)]
    pub health: health::Settings,
    /// What the log says and how.
    #[serde(default)]
    pub log: Log,
    /// State that survives.
    #[serde(default)]
    pub state: store::Settings,
    /// The keys that seal links and ids.
    #[serde(default)]
    pub keyring: Keyring,
    /// Bodies of requests.
    #[serde(default)]
    pub body: body::Settings,
    /// The clients' keys.
    #[serde(default)]
    pub jwks: auth::KeySettings,
    /// Rates.
    #[serde(default)]
    pub limits: limit::Settings,
    /// Browser EHRs.
    #[serde(default)]
    pub cors: cors::Settings,
    /// The discovery way.
    #[serde(default)]
    pub discovery: discovery::Settings,
    /// The EHRs that may call.
    #[serde(default)]
    pub client: Vec<Client>,
    /// The legacy services' servers.
    #[serde(default)]
    pub upstream: Vec<upstream::Settings>,
    /// The services. Without any, every id goes to the only upstream.
    #[serde(default)]
    pub service: Vec<service::Settings>,
}

/// The keys that seal links and ids.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Keyring {
    /// The file that holds them, made at the first start with mode 0600. Without a name it is `keys.json` in
    /// `state.directory`; with `state.backend = "memory"` there is none and links die with the process.
    pub file: Option<PathBuf>,
}

/// What the log says and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// `error`, `warn`, `info` or `debug`, or a filter as tracing-subscriber reads it.
    pub level: String,
    /// `json`, one object per line, or `text`.
    pub format: LogFormat,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogFormat {
    /// One JSON object per line.
    #[default]
    Json,
    /// For a person at a terminal.
    Text,
}

impl Default for Log {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: LogFormat::Json }
    }
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file, or a variable, does not say what it should.
    #[error("{}", sentence(.0))]
    Read(Box<figment::Error>),
    /// Each by itself is fine, together they are not.
    #[error("{}", .0.join("\n"))]
    Together(Vec<String>),
}

impl Config {
    /// Reads `file` and the environment.
    ///
    /// # Errors
    /// [`ConfigError`]
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        Self::extract(
            &Figment::from(Toml::file_exact(file)).merge(Env::prefixed(ENV_PREFIX).split("__")),
        )
    }

    /// Reads a configuration from text, without the environment.
    ///
    /// # Errors
    /// [`ConfigError`]
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        Self::extract(&Figment::from(Toml::string(text)))
    }

    fn extract(figment: &Figment) -> Result<Self, ConfigError> {
        let config: Self = figment.extract().map_err(|e| ConfigError::Read(Box::new(e)))?;
        let problems = config.problems();
        if problems.is_empty() { Ok(config) } else { Err(ConfigError::Together(problems)) }
    }

    /// The upstream of a service entry: the one it names, or the only one.
    pub fn upstream_of(&self, named: Option<&UpstreamId>) -> Option<UpstreamId> {
        match (named, self.upstream.as_slice()) {
            (Some(id), _) => Some(id.clone()),
            (None, [only]) => Some(only.id.clone()),
            (None, _) => None,
        }
    }

    /// Where the keys are, if anywhere.
    pub fn key_file(&self) -> Option<PathBuf> {
        match (&self.keyring.file, self.state.backend) {
            (Some(file), _) => Some(file.clone()),
            (None, store::Backend::Disk) => Some(self.state.directory.join("keys.json")),
            (None, store::Backend::Memory) => None,
        }
    }

    /// What spans several tables.
    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.client.is_empty() {
            problems.push("no [[client]]: nobody could call; name at least one EHR with id, issuer and jwks_url".to_owned());
        }
        if self.upstream.is_empty() {
            problems.push(
                "no [[upstream]]: there is nothing to protect; name one with id and url".to_owned(),
            );
        }
        let known: HashSet<&UpstreamId> =
            self.upstream.iter().map(|upstream| &upstream.id).collect();
        let mut seen = HashSet::new();
        for service in &self.service {
            let id = String::from(service.id.clone());
            match self.upstream_of(service.upstream.as_ref()) {
                Some(upstream) if known.contains(&upstream) => {}
                Some(upstream) => problems.push(format!(
                    "service {id:?} names the upstream {upstream:?}, which does not exist"
                )),
                None => problems.push(format!(
                    "service {id:?} must say upstream = \"…\": there is more than one"
                )),
            }
            if !seen.insert(id.clone()) {
                problems.push(format!("service {id:?} is there twice"));
            }
        }
        if self.service.is_empty() && self.upstream.len() > 1 {
            problems.push(
                "several [[upstream]] and no [[service]]: say which service is where".to_owned(),
            );
        }
        problems.extend(self.unknown_services());
        problems
    }

    /// Clients that may call services nobody serves.
    fn unknown_services(&self) -> Vec<String> {
        let any = self.service.is_empty()
            || self.service.iter().any(|service| service.id == service::Pattern::Any);
        let served: HashSet<String> =
            self.service.iter().map(|s| String::from(s.id.clone())).collect();
        self.client
            .iter()
            .flat_map(|client| client.auth.services.iter().map(move |id| (client, id)))
            .filter(|(_, id)| !any && !served.contains(id.as_str()))
            .map(|(client, id)| {
                format!("client {:?} may call {id:?}, which no [[service]] serves", client.auth.id)
            })
            .collect()
    }
}

/// figment's error with the key and the file it is about.
fn sentence(error: &figment::Error) -> String {
    error.clone().into_iter().map(|e| e.to_string()).collect::<Vec<_>>().join("\n")
}
