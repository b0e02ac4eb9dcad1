//! Whether events are written.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// The audit's metric families.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    events: Family<Labels, Counter>,
    pub(crate) trouble: Gauge,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    outcome: &'static str,
}

impl Metrics {
    /// Registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "hookgate_audit_events",
            "Audit events, by whether they were written",
            metrics.events.clone(),
        );
        registry.register(
            "hookgate_audit_trouble",
            "1 while audit events cannot be written",
            metrics.trouble.clone(),
        );
        metrics
    }

    pub(crate) fn written(&self, events: u64) {
        self.events.get_or_create(&Labels { outcome: "written" }).inc_by(events);
    }

    pub(crate) fn lost(&self, events: u64) {
        self.events.get_or_create(&Labels { outcome: "lost" }).inc_by(events);
    }
}
