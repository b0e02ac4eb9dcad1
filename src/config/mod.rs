//! The configuration: every step's settings, put together, and what spans several of them.
//!
//! No step sees more than its own part.

mod sentence;
mod schema;
mod document;
mod mask;
mod form;
pub mod report;
mod reading;
pub mod log;
pub mod reload;
pub mod public_url;
pub mod client;
mod effective;

use std::collections::HashMap;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use figment::providers::Env;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::admin;
use crate::audit;
use crate::body;
use crate::config::client::Client;
use crate::config::log::Log;
use crate::config::public_url::PublicUrl;
use crate::config::reading::{Reading, Variables};
use crate::config::reload::Reload;
use crate::config::report::Report;
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
use crate::problem::{Code, KeyPath, Problem};
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

/// Why there is no configuration: everything that is wrong with the file and the variables.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub Report);

/// A configuration that was read, with what has been found to be wrong with it.
#[derive(Debug)]
pub struct Examined {
    reading: Reading,
    config: Option<Config>,
}

impl Examined {
    /// What could be read. Where there are problems it lacks what they are about, and serves for looking
    /// for further ones alone.
    pub const fn config(&self) -> Option<&Config> {
        self.config.as_ref()
    }

    /// Takes in what a further look has found.
    pub fn note(&mut self, problems: impl IntoIterator<Item = Problem>) {
        self.reading.note(problems);
    }

    /// The configuration, where nothing keeps it from being used; and all that there is to say about it.
    pub fn conclude(self) -> (Option<Config>, Report) {
        let report = self.reading.report();
        (self.config.filter(|_| report.is_good()), report)
    }
}

impl Config {
    /// Reads `file` and the environment.
    ///
    /// # Errors
    /// [`ConfigError`]
    pub fn load(file: &Path) -> Result<Self, ConfigError> {
        let (config, report) = Self::examine(file).map_err(ConfigError)?.conclude();
        config.ok_or(ConfigError(report))
    }

    /// Reads `file` and the environment, and goes on behind every mistake.
    ///
    /// # Errors
    /// The report about a file that cannot be opened, or is no text.
    pub fn examine(file: &Path) -> Result<Examined, Report> {
        let text = fs::read_to_string(file).map_err(|error| no_file(file, &error))?;
        Ok(Self::read(file, &text, Some(Env::prefixed(ENV_PREFIX))))
    }

    /// Reads only `[health]` of `file` and the environment, whatever else may be wrong with them.
    ///
    /// # Errors
    /// [`ConfigError`] where there is no such file or it is no TOML, or where that table is wrong.
    pub fn load_health(file: &Path) -> Result<health::Settings, ConfigError> {
        let examined = Self::examine(file).map_err(ConfigError)?;
        let settings = examined.config.as_ref().map(|config| config.health.clone());
        let (_, report) = examined.conclude();
        let (table, mut about) = (KeyPath::of("health"), report);
        about.retain(|problem| table.holds(&problem.path) || problem.code == Code::Syntax);
        settings.filter(|_| about.problems().is_empty()).ok_or(ConfigError(about))
    }

    /// Reads a configuration from text, without the environment.
    ///
    /// # Errors
    /// [`ConfigError`]
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        let (config, report) = Self::read(Path::new("hookgate.toml"), text, None).conclude();
        config.ok_or(ConfigError(report))
    }

    fn read(file: &Path, text: &str, variables: Variables) -> Examined {
        let (mut reading, config) =
            Reading::new::<Self>(file, text, Self::schema(), ENV_PREFIX, variables);
        reading.note(config.iter().flat_map(Self::problems));
        Examined { reading, config }
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
    fn problems(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.client.is_empty() {
            let why = "there is no [[client]], so that nobody could call; name at least one EHR with id, issuer and \
                       jwks_url";
            problems.push(Problem::error(Code::MissingKey, KeyPath::of("client"), why));
        }
        if self.upstream.is_empty() {
            let why =
                "there is no [[upstream]], and so nothing to protect; name one with id and url";
            problems.push(Problem::error(Code::MissingKey, KeyPath::of("upstream"), why));
        }
        if self.state.backend == store::Backend::Redis && self.keyring.file.is_none() {
            let why =
                "is missing, and replicas that share Redis need the same keys; write keyring.file";
            let problem = Problem::error(Code::MissingKey, KeyPath::of("keyring.file"), why);
            problems.push(problem.with(KeyPath::of("state.backend"), "shared by replicas"));
        }
        if self.admin.enabled
            && self.admin.address.get() == self.health.address
            && self.health.address.port() != 0
        {
            let why = "is that of health.address, too; give one of them another port";
            let problem = Problem::error(Code::Duplicate, KeyPath::of("admin.address"), why);
            problems.push(problem.with(KeyPath::of("health.address"), "it is here, too"));
        }
        if self.replicas > one() && self.state.backend != store::Backend::Redis {
            let why = "needs one store for all of them, or each link is spent once at each; write state.backend = \
                       \"redis\"";
            problems.push(Problem::error(Code::Conflict, KeyPath::of("replicas"), why));
        }
        if self.reload.poll.get() < Duration::from_secs(1) {
            let why = "is less than a second; write \"30s\"";
            problems.push(Problem::error(Code::OutOfRange, KeyPath::of("reload.poll"), why));
        }
        problems.extend(self.unknown_upstreams());
        problems.extend(self.repeated_services());
        problems.extend(self.unknown_services());
        problems.extend(self.unmapped_credentials());
        problems.extend(self.unasked_certificates());
        problems
    }

    /// Services without an upstream.
    fn unknown_upstreams(&self) -> Vec<Problem> {
        let known: Vec<&str> = self.upstream.iter().map(|upstream| upstream.id.as_str()).collect();
        let mut problems = Vec::new();
        for (index, service) in self.service.iter().enumerate() {
            let at = KeyPath::of("service").index(index).key("upstream");
            match &service.upstream {
                Some(named) if known.contains(&named.as_str()) => {}
                Some(named) => {
                    let why = reference("upstream", named.as_str(), &known);
                    problems.push(Problem::error(Code::UnknownReference, at, why));
                }
                None if self.upstream.len() > 1 => {
                    let why = format!("is missing; write one of \"{}\"", known.join("\", \""));
                    problems.push(Problem::error(Code::MissingKey, at, why));
                }
                None => {}
            }
        }
        if self.service.is_empty() && self.upstream.len() > 1 {
            let why =
                "there are several [[upstream]] and no [[service]]; say which service is where";
            problems.push(Problem::error(Code::MissingKey, KeyPath::of("service"), why));
        }
        problems
    }

    /// Services that are there twice.
    fn repeated_services(&self) -> Vec<Problem> {
        let (mut seen, mut problems) = (HashMap::new(), Vec::new());
        for (index, service) in self.service.iter().enumerate() {
            let at = |index| KeyPath::of("service").index(index).key("id");
            let first = *seen.entry(String::from(service.id.clone())).or_insert(index);
            if first != index {
                let why = "another service has this id; make one of the two";
                let problem = Problem::error(Code::Duplicate, at(index), why);
                problems.push(problem.with(at(first), "it is here, too"));
            }
        }
        problems
    }

    /// Services that would take an id for a token although it is not one of ours.
    fn unmapped_credentials(&self) -> Vec<Problem> {
        let by_uuid = service::AnalyticsCredential::Uuid;
        let services = self.service.iter().enumerate();
        services
            .filter(|(_, each)| each.feedback.analytics == by_uuid && each.cards.ids == Ids::Pass)
            .map(|(index, _)| {
                let at = KeyPath::of("service").index(index);
                let why = "is \"uuid\", and only an id that was rewritten can stand for a token; write analytics = \
                           \"bearer\" or ids = \"rewrite\"";
                Problem::error(Code::Conflict, at.clone().key("feedback.analytics"), why)
                    .with(at.key("cards.ids"), "ids are not rewritten")
            })
            .collect()
    }

    /// Clients that must show what nobody asks for.
    fn unasked_certificates(&self) -> Vec<Problem> {
        let off = self.listener.client_certificates == doors::ClientCertificates::Off;
        let clients = self.client.iter().enumerate();
        clients
            .filter(|(_, client)| off && !client.auth.certificates.is_empty())
            .map(|(index, _)| {
                let at = KeyPath::of("client").index(index).key("certificates");
                let why = "are named and nobody is asked for one, so that all its calls would be refused; write \
                           listener.client_certificates = \"optional\"";
                Problem::error(Code::Conflict, at, why)
                    .with(KeyPath::of("listener.client_certificates"), "nobody is asked")
            })
            .collect()
    }

    /// Clients that may call services nobody serves.
    fn unknown_services(&self) -> Vec<Problem> {
        let any = self.service.is_empty()
            || self.service.iter().any(|service| service.id == service::Pattern::Any);
        if any {
            return Vec::new();
        }
        let served: Vec<String> =
            self.service.iter().map(|service| String::from(service.id.clone())).collect();
        let served: Vec<&str> = served.iter().map(String::as_str).collect();
        let mut problems = Vec::new();
        for (index, client) in self.client.iter().enumerate() {
            for (place, id) in client.auth.services.iter().enumerate() {
                if !served.contains(&id.as_str()) {
                    let at = KeyPath::of("client").index(index).key("services").index(place);
                    let why = reference("service", id.as_str(), &served);
                    problems.push(Problem::error(Code::UnknownReference, at, why));
                }
            }
        }
        problems
    }
}

/// Something is named that is not there.
fn reference(what: &str, named: &str, known: &[&str]) -> String {
    let help = sentence::nearest(named, known.iter().copied()).map_or_else(
        || format!("write one of \"{}\"", known.join("\", \"")),
        |meant| format!("did you mean \"{meant}\"?"),
    );
    format!("there is no {what} {named:?}; {help}")
}

fn no_file(file: &Path, error: &io::Error) -> Report {
    let known = [
        (io::ErrorKind::NotFound, Code::FileMissing, "name the file with --config"),
        (io::ErrorKind::IsADirectory, Code::FileKind, "name the file in it with --config"),
        (
            io::ErrorKind::PermissionDenied,
            Code::FileUnreadable,
            "give it to the user or group that hookgate runs as",
        ),
        (io::ErrorKind::InvalidData, Code::Syntax, "save it as UTF-8"),
    ];
    let (_, code, help) = known
        .into_iter()
        .find(|(kind, _, _)| *kind == error.kind())
        .unwrap_or_else(|| (error.kind(), Code::FileUnreadable, "name another with --config"));
    Report::unreadable(file, code, &format!("cannot be read: {error}; {help}"))
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
            (format!("a = 1\n{LEAST}"), "line 1: a: there is no such key; there are "),
            (
                with("[listener]\nadress = 1"),
                "line 10: listener.adress: there is no such key; did you mean address?",
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
            (client("ide = 1"), "line 6: client[0].ide: there is no such key; did you mean id?"),
            (client("max_lifetime = 5"), "line 6: client[0].max_lifetime: is a bare number"),
            (
                client("fhir_servers = [\"x\"]"),
                "line 6: client[0].fhir_servers[0]: \"x\" is no FHIR base URL",
            ),
            (
                client("fhir_server_check = \"no\""),
                "line 6: client[0].fhir_server_check: \"no\" is not one of \"enforce\"",
            ),
            (
                client("limit = { all = 1 }"),
                "line 6: client[0].limit.all: there is no such key; there are client, ",
            ),
            (
                client("limit = { client = { burst = -1 } }"),
                "line 6: client[0].limit.client.burst: cannot be -1; write a",
            ),
            (
                client("[[client]]\nid = \"b\"").replace("jwks_url", "#"),
                "line 6: client[1].issuer: is missing; write issuer",
            ),
            (with("urls = 1"), "line 9: upstream[0].urls: there is no such key; did you mean url?"),
            (with("http2 = 1"), "line 9: upstream[0].http2: cannot be 1; write true or false"),
            (with("[client]\n"), "line 9: "),
            (
                LEAST.replace("[[upstream]]", "[upstream]"),
                "line 6: upstream: is a list of tables; write its name in two",
            ),
            (with("[[service]]\nid = \"a/b\""), "line 10: service[0].id: use 1 to 128 characters"),
            (
                with("[[service]]\nid = \"a\"\n[service.links]\nlife = 1"),
                "line 12: service[0].links.life: there is no such key; there are confirm, ",
            ),
            (with("x = [1"), "line 9: unclosed array, "),
            (with("id = \"again\""), "line 9: duplicate key"),
            (
                with("[[service]]\nid = \"a\"\n[[service]]\nid = \"a\""),
                "line 12: service[1].id: another service has this id",
            ),
            (
                with("[[service]]\nid = \"a\"\nupstream = \"zz\""),
                "line 11: service[0].upstream: there is no upstream \"zz\"; write one of \"legacy\"",
            ),
            (
                with("[[upstream]]\nid = \"b\"\nurl = \"http://b\""),
                "service: there are several [[upstream]] and no [[service]]",
            ),
            (
                client("services = [\"x\"]") + "[[service]]\nid = \"a\"\n",
                "line 6: client[0].services[0]: there is no service \"x\"; write one of \"a\"",
            ),
            (
                with("[state]\nbackend = \"redis\""),
                "keyring.file: is missing, and replicas that share Redis need the same keys",
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
                "line 10: admin.address: is that of health.address, too; give one of them another",
            ),
            (with("[admin]\naddress = \"127.0.0.1:9090\"\nenabled = false"), "good"),
            (
                "replicas = 3\n".to_owned() + &with(""),
                "line 1: replicas: needs one store for all of them",
            ),
            (with("[state.redis]\ntimeout = 1"), "line 10: state.redis.timeout: is a bare number"),
            (
                "public_url = \"https://x.org\"\n".to_owned(),
                "client: there is no [[client]], so that nobody could call",
            ),
        ];
        for (text, expected) in table {
            let found = why(&text);
            assert!(found.starts_with(expected), "{expected}\n{found}\n{text}");
            assert!(!found.contains(['\u{1e}', '\u{1f}']), "{found}");
        }
    }

    /// The lines of the problems, and the report.
    fn lines(text: &str) -> (Vec<usize>, Report) {
        let (_, report) = Config::read(Path::new("f"), text, None).conclude();
        let places = report.problems().iter().filter_map(|each| each.place.as_ref());
        (places.map(|place| place.line).collect(), report)
    }

    #[test]
    fn of_a_file_in_which_every_value_is_wrong_each_is_told_of() {
        let whole = include_str!("../../config/hookgate.toml");
        let mut expected = Vec::new();
        let spoilt: String = whole
            .lines()
            .enumerate()
            .map(|(line, text)| match text.split_once(" = ") {
                Some((key, _)) if !key.starts_with(['#', ' ']) => {
                    expected.push(line + 1);
                    format!("{key} = [[[]]]\n")
                }
                Some(_) | None => format!("{text}\n"),
            })
            .collect();
        let (mut found, report) = lines(&spoilt);
        // Of a rate it is said, too, that the list is too short for one.
        found.dedup();
        assert!(expected.len() > 100);
        assert_eq!(found, expected, "{report}");
    }

    #[test]
    fn of_what_is_misspelt_it_is_not_said_that_it_is_missing() {
        for (right, wrong) in [
            ("issuer", "Issuer"),
            ("[[client]]", "[[clients]]"),
            ("[[upstream]]", "[[upstreams]]"),
            ("public_url", "public-url"),
            ("url = \"http:", "uri = \"http:"),
        ] {
            let (found, report) = lines(&LEAST.replacen(right, wrong, 1));
            assert_eq!((found.len(), report.problems().len()), (1, 1), "{report}");
            assert_eq!(report.problems()[0].problem.code, Code::UnknownKey, "{report}");
        }
    }

    #[test]
    fn entries_keep_their_numbers_when_others_are_set_aside() {
        let text = LEAST.replace(
            "[[upstream]]",
            "algorithms = [1, \"ES384\", \"x\", \"RS384\", 2]\n[[upstream]]",
        );
        let (_, report) = lines(&text);
        let paths: Vec<_> =
            report.problems().iter().map(|each| each.problem.path.to_string()).collect();
        assert_eq!(paths, [0, 2, 4].map(|at| format!("client[0].algorithms[{at}]")));
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
