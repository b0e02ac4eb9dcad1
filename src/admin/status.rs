//! How everything stands at one moment: what the page shows, and what `/status.json` says.
//!
//! Plain values, so that showing them takes nothing from calls. The names of the fields are those of the JSON.
//! There is no field for a token, a link's target or a secret.

use std::net::SocketAddr;

use serde::{Serialize, Serializer};

use crate::clock::UnixTime;
use crate::gateway::upstream::AddressState;

/// Everything.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// hookgate's.
    pub version: &'static str,
    /// What EHRs and browsers know it as.
    pub public_url: String,
    /// The moment this is about.
    pub now: UnixTime,
    /// When the process began.
    pub started: UnixTime,
    /// Whether it can answer calls.
    pub readiness: Readiness,
    /// What it goes by.
    pub configuration: Configuration,
    /// The EHRs and their keys.
    pub clients: Vec<Client>,
    /// The services, in the order of the configuration.
    pub services: Vec<Service>,
    /// The servers behind them.
    pub upstreams: Vec<Upstream>,
    /// Which services on this machine can be reached past the gateway, as far as they are looked after.
    pub bypass: Vec<Bypass>,
    /// Who was refused in the last hour.
    pub refusals: Refusals,
    /// Who is near a limit.
    pub limits: Limits,
    /// What became of links.
    pub links: Links,
    /// What was spent.
    pub store: Store,
    /// The gateway's own keys.
    pub keys: Keys,
    /// The certificates that it shows.
    pub certificates: Vec<Certificate>,
}

/// Whether calls can be answered.
#[derive(Clone, Debug, Serialize)]
pub struct Readiness {
    /// Whether `/readyz` says 200.
    pub ready: bool,
    /// What is missing for that.
    pub pending: Vec<String>,
    /// What is wrong although calls are answered.
    pub degraded: Vec<String>,
}

/// What the gateway goes by.
#[derive(Clone, Debug, Serialize)]
pub struct Configuration {
    /// When it was taken up.
    pub since: UnixTime,
    /// How many there were before it in this process.
    pub replaced: u64,
    /// The latest attempt to take up a changed one; nothing where none has changed since the start.
    pub latest: Option<Reload>,
    /// All of it as TOML, defaults included, without secrets.
    pub effective: String,
}

/// An attempt to take up a changed configuration.
#[derive(Clone, Debug, Serialize)]
pub struct Reload {
    /// When it ended.
    pub at: UnixTime,
    /// Why it was made: `asked`, `changed` or `again`.
    pub cause: &'static str,
    /// What is wrong with it, a sentence for each. Then nothing of it holds. None: all of it does.
    pub problems: Vec<String>,
}

/// An EHR.
#[derive(Clone, Debug, Serialize)]
pub struct Client {
    /// Its name.
    pub id: String,
    /// The key of its `[[client]]` that says where its keys are.
    pub source: &'static str,
    /// Whether its calls can be verified.
    pub usable: bool,
    /// The names of its keys.
    pub kids: Vec<String>,
    /// Why keys of its set are not used: a code for each.
    pub refused: Vec<&'static str>,
    /// Seconds since the keys were read.
    pub age_seconds: Option<u64>,
    /// When that was.
    pub last_success: Option<UnixTime>,
    /// The code of the latest attempt's failure, where it failed.
    pub last_error: Option<&'static str>,
    /// Seconds until they are read again; nothing while that is under way, and for keys in the configuration.
    pub next_refresh_seconds: Option<u64>,
    /// Whether they can be read again.
    pub fetchable: bool,
}

/// A service, and how it fared in the last hour.
#[derive(Clone, Debug, Serialize)]
pub struct Service {
    /// Its id; `*` for all that have no entry of their own.
    pub id: String,
    /// The upstream that serves it.
    pub upstream: String,
    /// Requests for it.
    pub requests: u64,
    /// Those that reached the upstream.
    pub calls: u64,
    /// Those that were answered with a server error, whoever made it.
    pub errors: u64,
    /// How long the upstream took on average.
    pub mean_millis: Option<u64>,
}

/// A server behind the gateway.
#[derive(Clone, Debug, Serialize)]
pub struct Upstream {
    /// Its name.
    pub id: String,
    /// Its base URL, without what could be a credential.
    pub url: String,
    /// Calls that it is at work on.
    pub in_flight: usize,
    /// How many it gets at once.
    pub max_concurrent: usize,
    /// Where it is called.
    pub addresses: Vec<Address>,
}

/// An address of an upstream.
#[derive(Clone, Debug, Serialize)]
pub struct Address {
    /// A host or an IP address, and a port.
    pub address: String,
    /// Whether it gets calls.
    #[serde(serialize_with = "by_name")]
    pub state: AddressState,
    /// Since when.
    pub since: UnixTime,
    /// When it is tried again, where it is left alone.
    pub next_try: Option<UnixTime>,
    /// What half of the answers of the last minute took at most.
    pub p50_millis: Option<u64>,
    /// What 95 of 100 took at most.
    pub p95_millis: Option<u64>,
    /// Calls of the last five minutes.
    pub calls: u64,
    /// Those that failed.
    pub failures: u64,
    /// What failed last.
    pub last_error: Option<&'static str>,
    /// When.
    pub last_error_at: Option<UnixTime>,
}

fn by_name<S: Serializer>(state: &AddressState, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(state.name())
}

/// Whether a service on this machine can be reached past the gateway.
#[derive(Clone, Debug, Serialize)]
pub struct Bypass {
    /// Its upstream.
    pub upstream: String,
    /// Where it answers although it should not. Empty: nowhere.
    pub answers: Vec<SocketAddr>,
    /// When this was found out.
    pub checked_at: UnixTime,
}

/// Who was refused, and when.
#[derive(Clone, Debug, Serialize)]
pub struct Refusals {
    /// The requests of each minute, the latest last.
    pub requests: Vec<u64>,
    /// Those refused, the most frequent reason first.
    pub reasons: Vec<Reason>,
}

/// The refusals for one reason.
#[derive(Clone, Debug, Serialize)]
pub struct Reason {
    /// See docs/reasons.md.
    pub reason: &'static str,
    /// In each minute, the latest last.
    pub minutes: Vec<u64>,
}

/// Who is near a limit.
#[derive(Clone, Debug, Serialize)]
pub struct Limits {
    /// `limits.mode`.
    pub mode: &'static str,
    /// Those that have used half of what they may or more, the nearest first. Some, where there are many.
    pub nearest: Vec<NearLimit>,
}

/// Somebody near a limit.
#[derive(Clone, Debug, Serialize)]
pub struct NearLimit {
    /// The limit, as in `[limits]`.
    pub limit: &'static str,
    /// The address, network, client, or client and service.
    pub who: String,
    /// How much of it is used, in percent.
    pub used_percent: u8,
    /// How many more may come now.
    pub left: u32,
    /// Milliseconds until one more may come, where none may now.
    pub wait_millis: Option<u64>,
    /// What is allowed at once.
    pub burst: u32,
}

/// What became of links in the last hour, at this replica.
#[derive(Clone, Debug, Serialize)]
pub struct Links {
    /// They went out in cards.
    pub minted: u64,
    /// They were opened for the first time.
    pub opened: u64,
    /// Somebody came too late.
    pub expired: u64,
    /// Somebody came with a link that another browser had opened.
    pub refused_twice: u64,
}

/// What was spent.
#[derive(Clone, Debug, Serialize)]
pub struct Store {
    /// `state.backend`.
    pub backend: &'static str,
    /// Entries held.
    pub entries: u64,
    /// Entries it takes.
    pub capacity: u64,
    /// The memory of the Redis that has the least left, in bytes.
    pub memory_used: Option<u64>,
    /// What that Redis may use, in bytes.
    pub memory_limit: Option<u64>,
    /// Whether it is nearly full.
    pub nearly_full: bool,
    /// Since when it remembers. Nothing where it has not been reached.
    pub history_since: Option<UnixTime>,
}

/// The gateway's own keys.
#[derive(Clone, Debug, Serialize)]
pub struct Keys {
    /// Where they are; nothing for keys in memory.
    pub file: Option<String>,
    /// Since when they are in use.
    pub loaded: UnixTime,
    /// What replicas compare: the same text, the same keys.
    pub fingerprint: String,
    /// The keys.
    pub held: Vec<Key>,
    /// The step of a rotation that can be taken now.
    pub next_step: NextStep,
}

/// A key of the gateway.
#[derive(Clone, Debug, Serialize)]
pub struct Key {
    /// `seal` or `sign`.
    pub kind: &'static str,
    /// Its name.
    pub kid: String,
    /// `next`, `current` or `previous`.
    pub state: &'static str,
    /// When it was made.
    pub created: UnixTime,
    /// When it began to seal or sign.
    pub current_since: Option<UnixTime>,
    /// When it ceased to.
    pub superseded: Option<UnixTime>,
    /// From when on it may be dropped.
    pub retirable_from: Option<UnixTime>,
}

/// Which button is to be pressed next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "step")]
pub enum NextStep {
    /// Keys that are in memory are not rotated.
    None,
    /// There is no next key.
    Add,
    /// The next keys may become current.
    Rotate {
        /// From then on.
        from: UnixTime,
    },
}

/// A certificate that the gateway shows.
#[derive(Clone, Debug, Serialize)]
pub struct Certificate {
    /// Who sees it.
    pub shown_to: String,
    /// Where it is.
    pub file: String,
    /// The names that it is for.
    pub names: Vec<String>,
    /// The last moment at which it is good.
    pub not_after: Option<UnixTime>,
    /// Whole days until then; 0 where it has passed.
    pub days_left: Option<u64>,
    /// Why it cannot be told.
    pub trouble: Option<String>,
}
