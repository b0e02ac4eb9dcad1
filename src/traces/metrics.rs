//! What became of spans.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// The spans' metric family.
#[derive(Clone, Debug, Default)]
pub struct Metrics(Family<Labels, Counter>);

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    outcome: &'static str,
}

/// What became of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// The collector took it.
    Exported,
    /// Too many others waited.
    Dropped,
    /// The collector could not be reached, or did not answer well.
    Failed,
    /// The collector did not want it.
    Rejected,
}

impl Metrics {
    /// Registers it.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        registry.register(
            "hookgate_traces_spans",
            "Spans of recorded traces, by what became of them",
            metrics.0.clone(),
        );
        metrics
    }

    pub(crate) fn count(&self, fate: Fate, spans: usize) {
        let outcome = match fate {
            Fate::Exported => "exported",
            Fate::Dropped => "dropped",
            Fate::Failed => "failed",
            Fate::Rejected => "rejected",
        };
        let spans = u64::try_from(spans).unwrap_or(u64::MAX);
        self.0.get_or_create(&Labels { outcome }).inc_by(spans);
    }
}
