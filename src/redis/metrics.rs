//! What can be seen of Redis from outside.

use std::fmt;
use std::fmt::Write;
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

use crate::redis::trouble::{Failure, Trouble};

/// In seconds. A call on the same network takes less than a millisecond; `timeout` is at most a second.
const BUCKETS: [f64; 10] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0];

/// A word of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Word(&'static str);

impl EncodeLabelValue for Word {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        encoder.write_str(self.0)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: Word,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Health {
    state: Word,
}

/// `hookgate_redis_servers{state}`, `hookgate_redis_calls_total{outcome}`,
/// `hookgate_redis_connects_total{outcome}` and `hookgate_redis_seconds`.
#[derive(Clone, Debug)]
pub struct Metrics {
    servers: Family<Health, Gauge>,
    calls: Family<Outcome, Counter>,
    connects: Family<Outcome, Counter>,
    seconds: Histogram,
}

impl Default for Metrics {
    fn default() -> Self {
        let servers = Family::<Health, Gauge>::default();
        for up in [true, false] {
            let _there_from_the_start = servers.get_or_create(&health(up));
        }
        let (calls, connects) = (Family::default(), Family::<Outcome, Counter>::default());
        for outcomes in [&calls, &connects] {
            let _there_from_the_start = outcomes.get_or_create(&Outcome { outcome: Word("ok") });
        }
        Self { servers, calls, connects, seconds: Histogram::new(BUCKETS) }
    }
}

impl Metrics {
    /// Makes them and has them scraped with `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "hookgate_redis_servers",
            "Redis servers that are needed, by whether they can be used; down: calls fail at once",
            metrics.servers.clone(),
        );
        registry.register("hookgate_redis_calls", "Calls to Redis", metrics.calls.clone());
        registry.register(
            "hookgate_redis_connects",
            "Attempts to connect to Redis",
            metrics.connects.clone(),
        );
        registry.register_with_unit(
            "hookgate_redis",
            "How long calls to Redis took, those that failed at once left out",
            Unit::Seconds,
            metrics.seconds.clone(),
        );
        metrics
    }

    /// A server that is needed from now on, and is not there yet.
    pub(super) fn server(&self) -> Server {
        let server = Server { servers: self.servers.clone(), up: false };
        server.gauge().inc();
        server
    }

    /// A call, and how long it took where it was sent.
    pub(super) fn called<T>(&self, outcome: &Result<T, Failure>, took: Duration) {
        let word = match outcome {
            Ok(_) => "ok",
            Err(Failure::NotSent(_)) => "down",
            Err(Failure::Full) => "full",
            Err(Failure::Sent(trouble)) => call_word(trouble),
        };
        if !matches!(outcome, Err(Failure::NotSent(_))) {
            self.seconds.observe(took.as_secs_f64());
        }
        self.calls.get_or_create(&Outcome { outcome: Word(word) }).inc();
    }

    /// An attempt to connect.
    pub(super) fn connected(&self, outcome: Result<(), &Trouble>) {
        let word = outcome.map_or_else(connect_word, |()| "ok");
        self.connects.get_or_create(&Outcome { outcome: Word(word) }).inc();
    }
}

const fn call_word(trouble: &Trouble) -> &'static str {
    match trouble {
        Trouble::Late(_) => "late",
        Trouble::Refused { .. } | Trouble::Redirected(_) => "refused",
        Trouble::TooFewReplicas { .. } => "unconfirmed",
        Trouble::Starting
        | Trouble::Name(_)
        | Trouble::Unreachable(..)
        | Trouble::Tls(..)
        | Trouble::TlsFile(_)
        | Trouble::PasswordFile(..)
        | Trouble::Login(_)
        | Trouble::Lost(_)
        | Trouble::Unfit(..)
        | Trouble::NoMaster
        | Trouble::Deposed(_)
        | Trouble::NoSlot
        | Trouble::NoTopology => "lost",
    }
}

const fn connect_word(trouble: &Trouble) -> &'static str {
    match trouble {
        Trouble::Name(_) => "name",
        Trouble::Unreachable(..) => "unreachable",
        Trouble::Late(_) | Trouble::Starting => "late",
        Trouble::Tls(..) => "tls",
        Trouble::TlsFile(_) => "tls_file",
        Trouble::PasswordFile(..) => "password_file",
        Trouble::Login(_) => "login",
        Trouble::Lost(_) => "lost",
        Trouble::Refused { .. } | Trouble::Redirected(_) | Trouble::TooFewReplicas { .. } => {
            "refused"
        }
        Trouble::Unfit(..) => "unfit",
        Trouble::NoMaster | Trouble::Deposed(_) => "no_master",
        Trouble::NoSlot | Trouble::NoTopology => "no_topology",
    }
}

/// A server's place in the gauge, for as long as it is needed.
#[derive(Debug)]
pub(super) struct Server {
    servers: Family<Health, Gauge>,
    up: bool,
}

impl Server {
    /// It can be used from now on, or cannot.
    pub(super) fn is(&mut self, up: bool) {
        if self.up != up {
            self.gauge().dec();
            self.up = up;
            self.gauge().inc();
        }
    }

    fn gauge(&self) -> impl std::ops::Deref<Target = Gauge> + '_ {
        self.servers.get_or_create(&health(self.up))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.gauge().dec();
    }
}

const fn health(up: bool) -> Health {
    Health { state: Word(if up { "up" } else { "down" }) }
}
