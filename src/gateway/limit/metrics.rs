//! What can be seen of the limits from outside.

use std::fmt;
use std::fmt::Write;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The kinds of limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Limit {
    /// Everything from one address.
    Address,
    /// Failed authentications from one address.
    FailingAddress,
    /// Opened links from one address.
    OpenAddress,
    /// All calls of one client.
    Client,
    /// One client's calls to one service.
    ClientService,
}

impl Limit {
    /// Every kind.
    pub const ALL: [Self; 5] =
        [Self::Address, Self::FailingAddress, Self::OpenAddress, Self::Client, Self::ClientService];

    /// The key in `[limits]`, which is also the name in metrics and logs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Address => "address",
            Self::FailingAddress => "failing_address",
            Self::OpenAddress => "open_address",
            Self::Client => "client",
            Self::ClientService => "client_service",
        }
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl EncodeLabelValue for Limit {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        encoder.write_str(self.name())
    }
}

/// How one check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    Passed,
    Refused,
    /// Over the limit, and let through because limits are only observed.
    Observed,
}

impl EncodeLabelValue for Outcome {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        encoder.write_str(match self {
            Self::Passed => "passed",
            Self::Refused => "refused",
            Self::Observed => "observed",
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Check {
    limit: Limit,
    outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    limit: Limit,
}

/// How one call that all replicas share came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Share {
    Answered,
    /// No answer in time.
    Late,
    /// No answer.
    Failed,
    /// Not asked, because it does not answer.
    Spared,
}

impl Share {
    const ALL: [Self; 4] = [Self::Answered, Self::Late, Self::Failed, Self::Spared];
}

impl EncodeLabelValue for Share {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        encoder.write_str(match self {
            Self::Answered => "answered",
            Self::Late => "late",
            Self::Failed => "failed",
            Self::Spared => "spared",
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Shared {
    outcome: Share,
}

/// `hookgate_limit_checks_total{limit, outcome}`, `hookgate_limit_keys{limit}`,
/// `hookgate_limit_shared_total{outcome}` and `hookgate_limit_local`.
#[derive(Clone, Debug)]
pub struct Metrics {
    checks: Family<Check, Counter>,
    keys: Family<Kind, Gauge>,
    shared: Family<Shared, Counter>,
    local: Gauge,
}

impl Metrics {
    /// Makes them known to `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            checks: Family::default(),
            keys: Family::default(),
            shared: Family::default(),
            local: Gauge::default(),
        };
        registry.register(
            "hookgate_limit_checks",
            "Checks against a rate limit, by kind and outcome (observed: over it, let through)",
            metrics.checks.clone(),
        );
        registry.register(
            "hookgate_limit_keys",
            "Addresses, clients, or clients and services that a rate limit tells apart",
            metrics.keys.clone(),
        );
        registry.register(
            "hookgate_limit_shared",
            "Calls to Redis for limits, by outcome (spared: Redis was away and not asked)",
            metrics.shared.clone(),
        );
        registry.register(
            "hookgate_limit_local",
            "1 while limits are this replica's own because Redis does not answer",
            metrics.local.clone(),
        );
        for limit in Limit::ALL {
            metrics.set_keys(limit, 0);
        }
        for outcome in Share::ALL {
            let _at_zero = metrics.shared.get_or_create(&Shared { outcome });
        }
        metrics
    }

    pub(crate) fn count(&self, limit: Limit, outcome: Outcome) {
        self.checks.get_or_create(&Check { limit, outcome }).inc();
    }

    pub(crate) fn set_keys(&self, limit: Limit, keys: usize) {
        let keys = i64::try_from(keys).unwrap_or(i64::MAX);
        self.keys.get_or_create(&Kind { limit }).set(keys);
    }

    pub(crate) fn count_share(&self, outcome: Share) {
        self.shared.get_or_create(&Shared { outcome }).inc();
    }

    pub(crate) fn set_local(&self, local: bool) {
        self.local.set(i64::from(local));
    }
}
