//! How many replicas are there, and how many of them have other keys.

use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The gauges `hookgate_replicas_…`.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    pub(crate) expected: Gauge,
    pub(crate) seen: Gauge,
    pub(crate) apart: Gauge,
}

impl Metrics {
    /// Registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        for (name, help, gauge) in [
            ("expected", "Replicas that the configuration speaks of", &metrics.expected),
            ("seen", "Replicas that have announced themselves, this one included", &metrics.seen),
            ("apart", "Replicas whose keys do not go with this one's", &metrics.apart),
        ] {
            registry.register(format!("hookgate_replicas_{name}"), help, gauge.clone());
        }
        metrics
    }
}
