//! One upstream as the operator writes it.

mod dialled;
mod breaker;
mod health;

use std::collections::HashSet;
use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::names::UpstreamId;
use crate::problem::{Code, Problem};
use crate::units::ByteSize;
use crate::units::Period;

pub use crate::gateway::upstream::settings::breaker::Breaker;
pub use crate::gateway::upstream::settings::dialled::Dialled;
pub use crate::gateway::upstream::settings::health::Health;

/// What an upstream gets in `Authorization`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Authorization {
    /// Nothing. The EHR's token was for the gateway.
    #[default]
    Strip,
    /// The EHR's token, as it came.
    Forward,
    /// A short token of the gateway's own, with the upstream's URL as its audience: for services that
    /// do check.
    Reissue,
    /// `Basic`, with the `user:password` in `secret_file`.
    Basic,
    /// `Bearer`, with the token in `secret_file`.
    Bearer,
}

/// What becomes of the body of an upstream's 4xx or 5xx.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum UpstreamErrors {
    /// It is left out: the public tutorials answer with stack traces and file paths.
    #[default]
    Mask,
    /// JSON passes; anything else is left out.
    Pass,
}

/// `[[upstream]]`: a legacy service's base URL, and how it is called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// What it is called in this configuration, in logs and in metrics.
    #[schemars(example = &"legacy")]
    pub id: UpstreamId,
    /// Its base URL, http or https, with a path if need be. A service that is routed by a query
    /// parameter has the parameter in its base, up to the `=`:
    /// `https://redcap.example.org/api/?type=module&cds-url=`. The paths below are put behind it.
    #[schemars(example = &"http://127.0.0.1:8080")]
    pub url: Url,
    /// Where it is dialled, instead of the host and port of `url`: `"10.0.0.5:8080"`. Each call goes to
    /// the one that is least loaded. `Host`, the name in the certificate and the audience of reissued
    /// tokens stay those of `url`. Default none: the host of `url`.
    #[serde(default)]
    pub addresses: Vec<Dialled>,
    /// How often names are looked up again. A name with several addresses, such as that of a headless
    /// service in Kubernetes, is called at all of them. Default 10 s.
    #[serde(default = "defaults::resolve_every")]
    pub resolve_every: Period,
    /// How long an address that is new, or back after a failure, gets fewer calls than the others: from a
    /// tenth of its share to all of it. Default 10 s; `"0s"` gives it all at once.
    #[serde(default = "defaults::slow_start")]
    pub slow_start: Period,
    /// Where it answers discovery. Default `/cds-services`, as the standard says.
    #[serde(default = "defaults::discovery_path")]
    pub discovery_path: String,
    /// Where it answers hooks; `{id}` is the service's id. Default `/cds-services/{id}`.
    #[serde(default = "defaults::service_path")]
    pub service_path: String,
    /// Where it takes feedback. Default `/cds-services/{id}/feedback`.
    #[serde(default = "defaults::feedback_path")]
    pub feedback_path: String,
    /// Where it takes the analytics calls of the drafts; `{uuid}` is the suggestion's. Default
    /// `/cds-services/{id}/analytics/{uuid}`.
    #[serde(default = "defaults::analytics_path")]
    pub analytics_path: String,
    /// PEM certificates to trust instead of the system's, for a private CA.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<PathBuf>,
    /// PEM certificate chain that the gateway shows to the upstream.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_certificate_file: Option<PathBuf>,
    /// PEM key of that certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_key_file: Option<PathBuf>,
    /// What it gets in `Authorization`. Default `"strip"`.
    #[serde(default)]
    pub authorization: Authorization,
    /// The secret of `"basic"` (`user:password`) or `"bearer"`. One newline at its end is ignored. It may
    /// be readable by others, as Kubernetes mounts secrets; writable by others it is refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_file: Option<PathBuf>,
    /// Header names that pass from the EHR to the upstream beside the usual ones. Default none.
    #[serde(default)]
    pub request_headers: Vec<String>,
    /// How long resolving, connecting and the TLS handshake may take together. Default 1 s.
    #[serde(default = "defaults::connect_timeout")]
    pub connect_timeout: Period,
    /// How long the whole exchange may take, from a place in the queue to the last byte; a minute at
    /// most. Default 5 s:
    /// the standard wants an answer in 500 ms, the Da Vinci CRD guide in 5 s, or 10 s for a few hooks.
    #[serde(default = "defaults::response_timeout")]
    pub response_timeout: Period,
    /// How long an idle connection is kept. It must be shorter than the upstream keeps it, or calls
    /// are lost on connections that it has just closed. Default 4 s: Node.js closes after 5.
    #[serde(default = "defaults::idle_timeout")]
    pub idle_timeout: Period,
    /// How many calls it gets at once. Default 256.
    #[serde(default = "defaults::max_concurrent")]
    pub max_concurrent: usize,
    /// How many calls may wait for their turn. More are refused at once. Default 64.
    #[serde(default = "defaults::max_queued")]
    pub max_queued: usize,
    /// How long a call may wait for its turn. Default 100 ms: within a budget of 500 ms a longer wait
    /// only makes a late answer later.
    #[serde(default = "defaults::queue_timeout")]
    pub queue_timeout: Period,
    /// How large an answer may be, decoded. Default 4 MiB.
    #[serde(default = "defaults::max_answer")]
    pub max_answer: ByteSize,
    /// What becomes of the body of a 4xx or 5xx. Default `"mask"`.
    #[serde(default)]
    pub upstream_errors: UpstreamErrors,
    /// Speak HTTP/2: offered in the TLS handshake for https, taken for granted for http. Default false.
    #[serde(default)]
    pub http2: bool,
    /// Where it is on this machine: look every few minutes whether its port answers on an address other
    /// than loopback, so that whoever reaches that address needs no token. An answer is a warning. Default
    /// true; turn it off where a firewall closes the port to everybody but the gateway.
    #[serde(default = "defaults::bypass_check")]
    pub bypass_check: bool,
    /// How its addresses are asked whether they are well. Default not at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<Health>,
    /// When an address that fails is left alone.
    #[serde(default)]
    pub breaker: Breaker,
}

impl Settings {
    /// An upstream with every default.
    pub fn new(id: UpstreamId, url: Url) -> Self {
        Self {
            id,
            url,
            addresses: Vec::new(),
            resolve_every: defaults::resolve_every(),
            slow_start: defaults::slow_start(),
            discovery_path: defaults::discovery_path(),
            service_path: defaults::service_path(),
            feedback_path: defaults::feedback_path(),
            analytics_path: defaults::analytics_path(),
            ca_file: None,
            client_certificate_file: None,
            client_key_file: None,
            authorization: Authorization::default(),
            secret_file: None,
            request_headers: Vec::new(),
            connect_timeout: defaults::connect_timeout(),
            response_timeout: defaults::response_timeout(),
            idle_timeout: defaults::idle_timeout(),
            max_concurrent: defaults::max_concurrent(),
            max_queued: defaults::max_queued(),
            queue_timeout: defaults::queue_timeout(),
            max_answer: defaults::max_answer(),
            upstream_errors: UpstreamErrors::default(),
            http2: false,
            bypass_check: defaults::bypass_check(),
            health: None,
            breaker: Breaker::default(),
        }
    }
}

mod defaults {
    use crate::units::ByteSize;
    use crate::units::Period;

    pub(super) const fn resolve_every() -> Period {
        Period::secs(10)
    }

    pub(super) const fn slow_start() -> Period {
        Period::secs(10)
    }

    pub(super) fn discovery_path() -> String {
        "/cds-services".to_owned()
    }

    pub(super) fn service_path() -> String {
        "/cds-services/{id}".to_owned()
    }

    pub(super) fn feedback_path() -> String {
        "/cds-services/{id}/feedback".to_owned()
    }

    pub(super) fn analytics_path() -> String {
        "/cds-services/{id}/analytics/{uuid}".to_owned()
    }

    pub(super) const fn connect_timeout() -> Period {
        Period::secs(1)
    }

    pub(super) const fn response_timeout() -> Period {
        Period::secs(5)
    }

    pub(super) const fn idle_timeout() -> Period {
        Period::secs(4)
    }

    pub(super) const fn max_concurrent() -> usize {
        256
    }

    pub(super) const fn max_queued() -> usize {
        64
    }

    pub(super) const fn queue_timeout() -> Period {
        Period::millis(100)
    }

    pub(super) const fn bypass_check() -> bool {
        true
    }

    pub(super) const fn max_answer() -> ByteSize {
        ByteSize::mib(4)
    }
}

/// A delivery's lease, which must outlast any call, is twice this.
const LONGEST_RESPONSE: Period = Period::secs(60);

const MOST_AT_ONCE: usize = 1_000_000;

/// Each has series of its own, and is looked at in each call.
pub(crate) const MOST_ADDRESSES: usize = 32;

/// More often is load on the resolver and tells nothing.
const SHORTEST_RESOLVE: Period = Period::millis(100);

/// What is wrong with the settings by themselves, without looking at files.
pub(crate) fn problems(settings: &Settings) -> Vec<Problem> {
    let mut found = Vec::new();
    let mut require = |holds: bool, code, sentence: &str| {
        if !holds {
            found.push(Problem::said(code, sentence));
        }
    };
    let url = &settings.url;
    let https = url.scheme() == "https";
    require(
        (https || url.scheme() == "http") && url.has_host(),
        Code::BadValue,
        "url is neither http nor https; write \"https://cds.example.org\"",
    );
    require(
        url.username().is_empty() && url.password().is_none(),
        Code::BadValue,
        "url holds a user or password; write authorization = \"basic\" and a secret_file",
    );
    require(
        url.fragment().is_none(),
        Code::BadValue,
        "url has a fragment, which is never sent; leave it out",
    );
    require(
        url.query().is_none_or(|query| query.ends_with('=')),
        Code::BadValue,
        "url has a query that does not end in \"=\", so that no path can be put behind it; write a \
         fixed query at the end of each path instead",
    );
    require(
        https || settings.ca_file.is_none(),
        Code::Conflict,
        "ca_file is of use for https only; leave it out or change url",
    );
    require(
        https || settings.client_certificate_file.is_none(),
        Code::Conflict,
        "client_certificate_file is of use for https only; leave it out or change url",
    );
    require(
        settings.client_certificate_file.is_some() == settings.client_key_file.is_some(),
        Code::Conflict,
        "client_key_file goes with client_certificate_file; set both or none",
    );
    let wants_secret = match settings.authorization {
        Authorization::Basic | Authorization::Bearer => true,
        Authorization::Strip | Authorization::Forward | Authorization::Reissue => false,
    };
    require(
        !wants_secret || settings.secret_file.is_some(),
        Code::MissingKey,
        "secret_file is missing, and authorization needs it; write secret_file = \"…\"",
    );
    require(
        wants_secret || settings.secret_file.is_none(),
        Code::Conflict,
        "secret_file goes with authorization = \"basic\" or \"bearer\", and only with these; remove it",
    );
    require(
        (1..=MOST_AT_ONCE).contains(&settings.max_concurrent),
        Code::OutOfRange,
        "max_concurrent is out of range; write 1 to 1000000",
    );
    require(
        settings.max_queued <= MOST_AT_ONCE,
        Code::OutOfRange,
        "max_queued is out of range; write 0 to 1000000",
    );
    require(settings.max_answer.bytes() > 0, Code::OutOfRange, "max_answer is 0; write \"4MiB\"");
    for (name, period) in [
        ("connect_timeout", settings.connect_timeout),
        ("response_timeout", settings.response_timeout),
        ("idle_timeout", settings.idle_timeout),
    ] {
        require(
            !period.get().is_zero(),
            Code::OutOfRange,
            &format!("{name} is 0; write \"1s\" or more"),
        );
    }
    require(
        settings.response_timeout <= LONGEST_RESPONSE,
        Code::OutOfRange,
        "response_timeout is longer than a minute, and no EHR waits that long; write \"1m\" or less",
    );
    require(
        settings.connect_timeout <= settings.response_timeout,
        Code::Conflict,
        "connect_timeout is longer than response_timeout, which includes it; write less than that",
    );
    require(
        settings.slow_start <= Period::secs(600),
        Code::OutOfRange,
        "slow_start is longer than ten minutes; write \"10s\"",
    );
    require(
        settings.resolve_every >= SHORTEST_RESOLVE,
        Code::OutOfRange,
        "resolve_every is too short; write \"10s\"",
    );
    require(
        settings.addresses.len() <= MOST_ADDRESSES,
        Code::OutOfRange,
        "addresses are more than 32; name a load balancer instead",
    );
    let mut seen = HashSet::new();
    require(
        settings.addresses.iter().all(|address| seen.insert(address)),
        Code::Duplicate,
        "addresses has one twice; leave it out once",
    );
    found.extend(settings.breaker.problems());
    found.extend(settings.health.iter().flat_map(Health::problems));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn minimal() -> Settings {
        toml::from_str("id = \"a\"\nurl = \"https://cds.example.org\"").unwrap()
    }

    #[test]
    fn an_id_and_a_url_are_enough() {
        let url = Url::parse("https://cds.example.org").unwrap();
        assert_eq!(minimal(), Settings::new(UpstreamId::new("a").unwrap(), url));
        assert_eq!(problems(&minimal()), []);
        let printed = toml::to_string(&minimal()).unwrap();
        assert_eq!(toml::from_str::<Settings>(&printed).unwrap(), minimal());
        for wrong in [
            "id = \"a\"",
            "url = \"https://x\"",
            "id = \"a\"\nurl = \"x\"",
            "id = \"a\"\nurl = \"https://x\"\npath = \"/\"",
        ] {
            assert!(toml::from_str::<Settings>(wrong).is_err(), "{wrong}");
        }
    }

    fn address(port: u16) -> Dialled {
        Dialled::try_from(format!("10.0.0.1:{port}")).unwrap()
    }

    fn health(text: &str) -> Vec<Problem> {
        problems(&Settings { health: Some(toml::from_str(text).unwrap()), ..minimal() })
    }

    #[test]
    fn names_what_cannot_be() {
        let with = |change: fn(&mut Settings)| {
            let mut settings = minimal();
            change(&mut settings);
            problems(&settings)
        };
        let url = |text: &str| problems(&Settings { url: Url::parse(text).unwrap(), ..minimal() });
        let table = [
            (url("ftp://x/"), "url is neither"),
            (url("data:x"), "url is neither"),
            (url("https://u@x/"), "url holds a user"),
            (url("https://:p@x/"), "url holds a user"),
            (url("https://x/#f"), "url has a fragment"),
            (url("https://x/?a=1"), "url has a query"),
            (with(|s| s.client_key_file = Some("k".into())), "client_key_file goes with"),
            (with(|s| s.authorization = Authorization::Basic), "secret_file is missing"),
            (with(|s| s.secret_file = Some("s".into())), "secret_file goes with"),
            (with(|s| s.max_concurrent = 0), "max_concurrent"),
            (with(|s| s.max_concurrent = usize::MAX), "max_concurrent"),
            (with(|s| s.max_queued = usize::MAX), "max_queued"),
            (with(|s| s.max_answer = ByteSize::kib(0)), "max_answer"),
            (with(|s| s.idle_timeout = Period::secs(0)), "idle_timeout is 0"),
            (with(|s| s.connect_timeout = Period::secs(6)), "connect_timeout is longer"),
            (with(|s| s.slow_start = Period::secs(601)), "slow_start is longer"),
            (with(|s| s.resolve_every = Period::secs(0)), "resolve_every is too"),
            (with(|s| s.addresses = vec![address(1), address(1)]), "addresses has one twice"),
            (with(|s| s.addresses = (1..34).map(address).collect()), "addresses are more"),
            (with(|s| s.breaker.statuses = vec![503, 412]), "breaker.statuses has 412"),
            (with(|s| s.breaker.failure_percent = Some(0)), "breaker.failure_percent"),
            (with(|s| s.breaker.min_calls = 0), "breaker.min_calls"),
            (with(|s| s.breaker.window = Period::secs(0)), "breaker.window"),
            (with(|s| s.breaker.pause = Period::secs(40)), "breaker.pause is longer"),
            (health("path = \"healthz\""), "health.path is no path"),
            (health("path = \"/a b\""), "health.path is no path"),
            (health("path = \"/\"\ninterval = \"0s\""), "health.interval"),
            (health("path = \"/\"\ntimeout = \"0s\""), "health.timeout"),
            (health("path = \"/\"\nhealthy_after = 0"), "health.healthy_after"),
            (health("path = \"/\"\nunhealthy_after = 0"), "health.unhealthy_after"),
            (health("path = \"/\"\nstatuses = [100]"), "health.statuses"),
        ];
        for (found, expected) in table {
            assert_eq!(found.len(), 1, "{expected}: {found:?}");
            let told = found[0].to_string().replacen(": ", " ", 1);
            assert!(told.starts_with(expected), "{expected}: {told}");
        }
        let plain = Settings {
            url: Url::parse("http://x/").unwrap(),
            ca_file: Some("c".into()),
            client_certificate_file: Some("c".into()),
            client_key_file: Some("k".into()),
            ..minimal()
        };
        assert_eq!(problems(&plain).len(), 2);
        assert_eq!(health("path = \"/?deep=1\""), []);
        assert!(url("https://x/?a=1&b=").is_empty());
    }
}
