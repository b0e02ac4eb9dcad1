//! What can be seen of the keys from outside.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::names::ClientId;

/// The metric families of the keys. All are labelled by configured client.
#[derive(Clone, Debug, Default)]
pub(super) struct Metrics {
    fetches: Family<FetchLabels, Counter>,
    held: Family<ClientLabels, Gauge>,
    refused: Family<ClientLabels, Gauge>,
    last_success: Family<ClientLabels, Gauge>,
    unknown_kids: Family<UnknownLabels, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ClientLabels {
    client: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FetchLabels {
    client: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct UnknownLabels {
    client: String,
    result: &'static str,
}

impl Metrics {
    /// Registers the families.
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "hookgate_jwks_fetches",
            "Attempts to read a client's JWK Set, by outcome",
            metrics.fetches.clone(),
        );
        registry.register(
            "hookgate_jwks_keys_held",
            "Usable keys held for a client",
            metrics.held.clone(),
        );
        registry.register(
            "hookgate_jwks_keys_refused",
            "Keys of a client's current set that are not used",
            metrics.refused.clone(),
        );
        registry.register(
            "hookgate_jwks_last_success_timestamp_seconds",
            "When a client's JWK Set was last read successfully, in Unix time",
            metrics.last_success.clone(),
        );
        registry.register(
            "hookgate_jwks_unknown_kids",
            "Look-ups of a kid that was not held, by result",
            metrics.unknown_kids.clone(),
        );
        metrics
    }

    /// The same for one client.
    pub(super) fn of(&self, client: &ClientId) -> ClientMetrics {
        ClientMetrics { all: self.clone(), client: client.to_string() }
    }
}

/// The metrics of one client's keys.
#[derive(Clone, Debug)]
pub(super) struct ClientMetrics {
    all: Metrics,
    client: String,
}

impl ClientMetrics {
    /// An attempt ended; `outcome` is `ok` or an error's code.
    pub(super) fn attempted(&self, outcome: &'static str) {
        let labels = FetchLabels { client: self.client.clone(), outcome };
        self.all.fetches.get_or_create(&labels).inc();
    }

    /// A set is now held.
    pub(super) fn holds(&self, usable: usize, refused: usize, fetched_at_secs: u64) {
        let labels = ClientLabels { client: self.client.clone() };
        let number = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        self.all.held.get_or_create(&labels).set(number(usable));
        self.all.refused.get_or_create(&labels).set(number(refused));
        let secs = i64::try_from(fetched_at_secs).unwrap_or(i64::MAX);
        self.all.last_success.get_or_create(&labels).set(secs);
    }

    /// A `kid` that was not held was asked for; `result` is `found`, `unknown` or `unavailable`.
    pub(super) fn unknown_kid(&self, result: &'static str) {
        let labels = UnknownLabels { client: self.client.clone(), result };
        self.all.unknown_kids.get_or_create(&labels).inc();
    }
}
