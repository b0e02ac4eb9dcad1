//! What is counted about the keys.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use crate::names::ClientId;

/// The counters of the keys. All are labelled by configured client. Clones count into the same.
#[derive(Clone, Debug, Default)]
pub(super) struct Counts {
    fetches: Family<FetchLabels, Counter>,
    unknown_kids: Family<UnknownLabels, Counter>,
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

impl Counts {
    /// Registers the families.
    pub(super) fn register(registry: &mut Registry) -> Self {
        let counts = Self::default();
        registry.register(
            "hookgate_jwks_fetches",
            "Attempts to read a client's JWK Set, by outcome",
            counts.fetches.clone(),
        );
        registry.register(
            "hookgate_jwks_unknown_kids",
            "Look-ups of a kid that was not held, by result",
            counts.unknown_kids.clone(),
        );
        counts
    }

    /// The same for one client.
    pub(super) fn of(&self, client: &ClientId) -> ClientCounts {
        ClientCounts { all: self.clone(), client: client.to_string() }
    }
}

/// The counters of one client's keys.
#[derive(Clone, Debug)]
pub(super) struct ClientCounts {
    all: Counts,
    client: String,
}

impl ClientCounts {
    /// An attempt ended; `outcome` is `ok` or an error's code.
    pub(super) fn attempted(&self, outcome: &'static str) {
        let labels = FetchLabels { client: self.client.clone(), outcome };
        self.all.fetches.get_or_create(&labels).inc();
    }

    /// A `kid` that was not held was asked for; `result` is `found`, `unknown` or `unavailable`.
    pub(super) fn unknown_kid(&self, result: &'static str) {
        let labels = UnknownLabels { client: self.client.clone(), result };
        self.all.unknown_kids.get_or_create(&labels).inc();
    }
}
