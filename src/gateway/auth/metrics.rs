//! What can be seen of the keys from outside.
//!
//! The gauges are worked out at the moment of the scrape. They are those of the clients that there are now: one that a reload took away is shown no more, so that
//! nobody is alarmed about keys that nobody needs.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::audit::Audit;
use crate::gateway::auth::counts::{ClientCounts, Counts};
use crate::gateway::auth::keys::{ClientKeys, KeyStatus};
use crate::names::ClientId;

/// The metric families of the keys, and the audit of their changes. All are labelled by configured client. Clones are of
/// the same families.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    counts: Counts,
    shown: ShownKeys,
    audit: Audit,
}

impl Metrics {
    /// Registers the families.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            counts: Counts::register(registry),
            shown: ShownKeys::default(),
            audit: Audit::off(),
        };
        registry.register_collector(Box::new(metrics.shown.clone()));
        metrics
    }

    /// The same, and `audit` is told when keys change.
    #[must_use]
    pub fn audited(self, audit: Audit) -> Self {
        Self { audit, ..self }
    }

    /// Who is told when keys change.
    pub(super) const fn audit(&self) -> &Audit {
        &self.audit
    }

    /// The counters of one client.
    pub(super) fn of(&self, client: &ClientId) -> ClientCounts {
        self.counts.of(client)
    }

    /// Shows the gauges of these keys from now on, and of no others.
    pub(super) fn show(&self, keys: Vec<Arc<ClientKeys>>) {
        self.shown.0.store(Arc::new(keys));
    }
}

/// The keys whose gauges are shown.
#[derive(Clone, Debug, Default)]
struct ShownKeys(Arc<ArcSwap<Vec<Arc<ClientKeys>>>>);

impl Collector for ShownKeys {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let all: Vec<KeyStatus> = self.0.load().iter().map(|keys| keys.status()).collect();
        let mut gauge = |name, help, of: &dyn Fn(&KeyStatus) -> Option<u64>| {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (status, value) in all.iter().filter_map(|status| Some((status, of(status)?))) {
                let labels = [("client", status.client.as_str())];
                let value = i64::try_from(value).unwrap_or(i64::MAX);
                ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
            }
            Ok(())
        };
        let number = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        gauge(
            "hookgate_jwks_age_seconds",
            "Time since a client's JWK Set was last read successfully",
            &|status| status.age.map(|age| age.as_secs()),
        )?;
        gauge("hookgate_jwks_keys_held", "Usable keys held for a client", &|status| {
            Some(number(status.kids.len()))
        })?;
        gauge(
            "hookgate_jwks_keys_refused",
            "Keys of a client's current set that cannot be used, those for encryption left out",
            // A set may well have keys for encryption too: nothing is wrong with them.
            &|status| Some(number(status.refused.iter().filter(|fault| **fault != "use").count())),
        )?;
        gauge(
            "hookgate_jwks_last_success_timestamp_seconds",
            "When a client's JWK Set was last read successfully, in Unix time",
            &|status| status.last_success.map(|at| at.secs()),
        )
    }
}
