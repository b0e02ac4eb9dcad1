//! The configuration: every step's settings, put together, and what spans several of them.
//!
//! No step sees more than its own part.

pub mod sentence;
pub mod schema;
pub mod log;
pub mod reload;
pub mod public_url;
pub mod client;
mod effective;

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use figment::Figment;
use figment::providers::{Env, Format, Toml};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::admin;
use crate::audit;
use crate::body;
use crate::config::client::Client;
use crate::config::log::Log;
use crate::config::public_url::PublicUrl;
use crate::config::reload::Reload;
use crate::doors;
use crate::gateway::auth;
use crate::gateway::cards::policy::Ids;
use crate::gateway::cors;
use crate::gateway::discovery;
use crate::gateway::limit;
use crate::gateway::service;
use crate::gateway::upstream;
use crate::health;
use crate::names::UpstreamId;
use crate::peer::TrustedProxies;
use crate::store;
use crate::traces;

/// Environment variables that override the file: `HOOKGATE__LISTENER__ADDRESS` for `listener.address`.
/// Two underscores, because Kubernetes sets `HOOKGATE_SERVICE_HOST` and the like by itself.
pub const ENV_PREFIX: &str = "HOOKGATE__";

/// Everything an operator can say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The URL under which EHRs and browsers reach this gateway. All URLs it gives out begin with it, and
    /// what a token must be addressed to is computed from it, never from a Host field.
    pub public_url: PublicUrl,
    /// Proxies in front of this gateway that are believed about the client's address.
    #[serde(default)]
    pub trusted_proxies: TrustedProxies,
    /// How many hookgates there are that share clients, keys and state, this one included; with an
    /// autoscaler, the most there may be. Default 1. More need `state.backend = "redis"`: without it a link
    /// would be spent once at each of them.
    #[serde(default = "one")]
    pub replicas: NonZeroU32,
    /// The public listener.
    #[serde(default)]
    pub listener: doors::Settings,
    /// The health listener.
    #[serde(default)]
    pub health: health::Settings,
    /// The admin listener, with the status page.
    #[serde(default)]
    pub admin: admin::Settings,
    /// What the log says and how.
    #[serde(default)]
    pub log: Log,
    /// One event per security decision.
    #[serde(default)]
    pub audit: audit::Settings,
    /// Taking up changes while it runs.
    #[serde(default)]
    pub reload: Reload,
    /// Spans to a collector.
    #[serde(default)]
    pub traces: traces::Settings,
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
    /// How often anybody may come.
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

const fn one() -> NonZeroU32 {
    NonZeroU32::MIN
}

/// The keys that seal links and ids.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Keyring {
    /// The file that holds them, made at the first start with mode 0600. Without a name it is `keys.json` in
    /// `state.directory`; with `state.backend = "memory"` there is none and links die with the process. With
    /// `state.backend = "redis"` it must be named: all replicas need the same keys.
    pub file: Option<PathBuf>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// There is no such file, or it may not be read.
    #[error("cannot be read: {0}")]
    File(io::Error),
    /// The file, or a variable, does not say what it should: a sentence for each place.
    #[error("{}", .0.join("\n"))]
    Read(Vec<String>),
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
        let text = fs::read_to_string(file).map_err(ConfigError::File)?;
        Self::extract(&text, |figment| figment.merge(Env::prefixed(ENV_PREFIX).split("__")))
    }

    /// Reads only `[health]` of `file` and the environment, whatever else may be wrong with them.
    ///
    /// # Errors
    /// [`ConfigError`] where there is no such file or it is no TOML, or where that table is wrong.
    pub fn load_health(file: &Path) -> Result<health::Settings, ConfigError> {
        const TABLE: &str = "health";
        let text = fs::read_to_string(file).map_err(ConfigError::File)?;
        sentence::check_grammar(&text).map_err(|wrong| ConfigError::Read(vec![wrong]))?;
        let figment =
            Figment::from(Toml::string(&text)).merge(Env::prefixed(ENV_PREFIX).split("__"));
        match figment.find_value(TABLE) {
            Err(_) => Ok(health::Settings::default()),
            Ok(_) => figment
                .extract_inner(TABLE)
                .map_err(|error| ConfigError::Read(sentence::sentences(error, &text, ENV_PREFIX))),
        }
    }

    /// Reads a configuration from text, without the environment.
    ///
    /// # Errors
    /// [`ConfigError`]
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        Self::extract(text, |figment| figment)
    }

    fn extract(text: &str, more: impl FnOnce(Figment) -> Figment) -> Result<Self, ConfigError> {
        sentence::check_grammar(text).map_err(|wrong| ConfigError::Read(vec![wrong]))?;
        let figment = more(Figment::from(Toml::string(text)));
        let config: Self = figment
            .extract()
            .map_err(|error| ConfigError::Read(sentence::sentences(error, text, ENV_PREFIX)))?;
        let problems = config.problems();
        if problems.is_empty() { Ok(config) } else { Err(ConfigError::Together(problems)) }
    }

    /// The JSON Schema (2020-12) of the file, with what each key is for.
    pub fn schema() -> serde_json::Value {
        schema::of::<Self>().to_value()
    }

    /// All of it as TOML, with every default, without what could be a secret.
    pub fn effective(&self) -> String {
        effective::without_secrets(self)
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
            (None, store::Backend::Memory | store::Backend::Redis) => None,
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
        if self.state.backend == store::Backend::Redis && self.keyring.file.is_none() {
            problems.push(
                "state.backend = \"redis\" is shared by replicas, which need the same keys: write keyring.file"
                    .to_owned(),
            );
        }
        if self.admin.enabled
            && self.admin.address.get() == self.health.address
            && self.health.address.port() != 0
        {
            problems.push(format!(
                "admin.address and health.address are both {}: give one of them another port",
                self.health.address
            ));
        }
        if self.replicas > one() && self.state.backend != store::Backend::Redis {
            problems.push(format!(
                "replicas = {} need one store for all of them, or each link is spent once at each: write \
                 state.backend = \"redis\"",
                self.replicas
            ));
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
        if self.reload.poll.get() < Duration::from_secs(1) {
            problems.push("reload.poll: less than a second; write \"30s\"".to_owned());
        }
        problems.extend(self.unknown_services());
        problems.extend(self.unmapped_credentials());
        problems.extend(self.unasked_certificates());
        problems
    }

    /// Services that would take an id for a token although it is not one of ours.
    fn unmapped_credentials(&self) -> Vec<String> {
        let by_uuid = service::AnalyticsCredential::Uuid;
        self.service
            .iter()
            .filter(|service| service.feedback.analytics == by_uuid && service.cards.ids == Ids::Pass)
            .map(|service| {
                format!(
                    "service {:?} has feedback.analytics = \"uuid\" and cards.ids = \"pass\": only an id that \
                     was rewritten can stand for a token; write analytics = \"bearer\" or ids = \"rewrite\"",
                    String::from(service.id.clone())
                )
            })
            .collect()
    }

    /// Clients that must show what nobody asks for.
    fn unasked_certificates(&self) -> Vec<String> {
        let off = self.listener.client_certificates == doors::ClientCertificates::Off;
        let bound = self.client.iter().filter(|client| !client.auth.certificates.is_empty());
        bound
            .filter(|_| off)
            .map(|client| {
                format!(
                    "client {:?} has certificates and nobody is asked for one, so that all its calls would be \
                     refused; write listener.client_certificates = \"optional\"",
                    client.auth.id
                )
            })
            .collect()
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

#[cfg(test)]
mod tests {
    use super::*;

    const LEAST: &str = r#"public_url = "https://cds.example.org"
[[client]]
id = "ehr"
issuer = "https://ehr.example.org"
jwks_url = "https://ehr.example.org/jwks"
[[upstream]]
id = "legacy"
url = "http://127.0.0.1:8080"
"#;

    fn why(text: &str) -> String {
        Config::from_toml(text).map_or_else(|error| error.to_string(), |_| "good".to_owned())
    }

    #[test]
    fn says_where_what_and_what_instead() {
        let client = |line: &str| LEAST.replace("[[upstream]]", &format!("{line}\n[[upstream]]"));
        let with = |line: &str| format!("{LEAST}{line}\n");
        let table = [
            (LEAST.to_owned(), "good"),
            (LEAST.replace("public_url", "# "), "public_url: is missing"),
            (format!("a = 1\n{LEAST}"), "line 1: a: there is no such key; there are public_url, "),
            (
                with("[listener]\nadress = 1"),
                "line 10: listener.adress: there is no such key; there are address",
            ),
            (
                with("[listener]\nidle_timeout = 60"),
                "line 10: listener.idle_timeout: is a bare number; write it in",
            ),
            (
                with("[listener]\naddress = \"8443\""),
                "line 10: listener.address: is no address with a port; write",
            ),
            (
                with("[listener]\nhttp2 = \"yes\""),
                "line 10: listener.http2: is a text in quotes; write true or",
            ),
            (
                with("[listener]\nmax_connections = 0"),
                "line 10: listener.max_connections: cannot be 0; write a whole",
            ),
            (
                with("[body]\ntimeout = \"5\""),
                "line 10: body.timeout: \"5\" is not a length of time; write \"30s\"",
            ),
            (with("[body]\ntimeout = \"-5s\""), "line 10: body.timeout: \"-5s\" is negative"),
            (
                with("[body]\nmax_size = \"8 MMB\""),
                "line 10: body.max_size: \"8 MMB\" is not a size; write \"64KiB\"",
            ),
            (
                with("[body]\nmax_size = -1"),
                "line 10: body.max_size: expected a size; write \"64KiB\"",
            ),
            (
                with("[log]\nlevel = \"inof\""),
                "line 10: log.level: \"inof\" is no log level; write \"info\"",
            ),
            (
                with("[log]\nformat = \"xml\""),
                "line 10: log.format: \"xml\" is not one of \"json\", \"text\"",
            ),
            (client("ide = 1"), "line 6: client.ide: there is no such key; there are id, issuer"),
            (client("max_lifetime = 5"), "line 6: client.max_lifetime: is a bare number"),
            (
                client("fhir_servers = [\"x\"]"),
                "line 6: client.fhir_servers: \"x\" is no FHIR base URL",
            ),
            (
                client("fhir_server_check = \"no\""),
                "line 6: client.fhir_server_check: \"no\" is not one of \"enforce\"",
            ),
            (
                client("limit = { all = 1 }"),
                "line 6: client.limit.all: there is no such key; there are client, ",
            ),
            (
                client("limit = { client = { burst = -1 } }"),
                "line 6: client.limit.client.burst: cannot be -1; write a",
            ),
            (
                client("[[client]]\nid = \"b\"").replace("jwks_url", "#"),
                "line 6: client.issuer: is missing",
            ),
            (with("urls = 1"), "line 9: upstream.urls: there is no such key; there are id, url"),
            (with("http2 = 1"), "line 9: upstream.http2: cannot be 1; write true or false"),
            (with("[client]\n"), "line 9: "),
            (
                LEAST.replace("[[upstream]]", "[upstream]"),
                "line 6: upstream: is a list of tables; write its name in two",
            ),
            (with("[[service]]\nid = \"a/b\""), "line 10: service.id: use 1 to 128 characters"),
            (
                with("[[service]]\nid = \"a\"\n[service.links]\nlife = 1"),
                "line 12: service.links.life: there is no such key; there are lifetime",
            ),
            (with("x = [1"), "line 9: unclosed array, "),
            (with("id = \"again\""), "line 9: duplicate key"),
            (
                with("[[service]]\nid = \"a\"\n[[service]]\nid = \"a\""),
                "service \"a\" is there twice",
            ),
            (
                with("[[service]]\nid = \"a\"\nupstream = \"zz\""),
                "service \"a\" names the upstream \"zz\", which does not exist",
            ),
            (
                with("[[upstream]]\nid = \"b\"\nurl = \"http://b\""),
                "several [[upstream]] and no [[service]]",
            ),
            (
                client("services = [\"x\"]") + "[[service]]\nid = \"a\"\n",
                "client \"ehr\" may call \"x\", which no [[service]] serves",
            ),
            (
                with("[state]\nbackend = \"redis\""),
                "state.backend = \"redis\" is shared by replicas, which need the same keys",
            ),
            (with("[state]\nbackend = \"redis\"\n[keyring]\nfile = \"/keys.json\""), "good"),
            ("replicas = 1\n".to_owned() + &with(""), "good"),
            ("replicas = 0\n".to_owned() + &with(""), "line 1: replicas"),
            (
                with("[admin]\naddress = \"0.0.0.0:9091\""),
                "line 10: admin.address: \"0.0.0.0:9091\" can be reached from elsewhere, and there is no login",
            ),
            (
                with("[admin]\naddress = \"127.0.0.1:9090\""),
                "admin.address and health.address are both 127.0.0.1:9090: give one of them another",
            ),
            (with("[admin]\naddress = \"127.0.0.1:9090\"\nenabled = false"), "good"),
            (
                "replicas = 3\n".to_owned() + &with(""),
                "replicas = 3 need one store for all of them",
            ),
            (with("[state.redis]\ntimeout = 1"), "line 10: state.redis.timeout: is a bare number"),
            ("public_url = \"https://x.org\"\n".to_owned(), "no [[client]]: nobody could call"),
        ];
        for (text, expected) in table {
            let found = why(&text);
            assert!(found.starts_with(expected), "{expected}\n{found}\n{text}");
            assert!(!found.contains('\u{1f}'), "{found}");
        }
    }

    #[test]
    fn what_spans_tables_is_told_at_once() {
        let found =
            why("public_url = \"https://x.org\"\n[[service]]\nid = \"a\"\nupstream = \"b\"\n");
        assert_eq!(found.lines().count(), 3, "{found}");
    }

    #[test]
    fn no_sentence_holds_a_credential() {
        let written = "https://user:s3cret@x.org/?a#b";
        for text in [
            LEAST.replace("https://cds.example.org", written),
            LEAST.replace("http://127.0.0.1:8080", "http://user:s3cret@:1"),
            LEAST.replace("[[upstream]]", &format!("fhir_servers = [\"{written}\"]\n[[upstream]]")),
            format!("{LEAST}http2 = \"s3cret\"\n"),
            format!("{LEAST}secret_file = \"s3cret\n"),
        ] {
            let found = why(&text);
            assert!(found != "good" && !found.contains("s3cret"), "{found}");
        }
    }
}
