//! What can be seen of the keys from outside: never a secret.

use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::registry::Registry;

use crate::keyring::live::LiveKeyring;

/// How re-reading the file goes.
#[derive(Clone, Debug, Default)]
pub struct Metrics {
    pub(crate) failures: Counter,
    pub(crate) refused: Gauge,
}

impl Metrics {
    /// Registers the metrics, and those of the ring that is in use.
    pub fn register(registry: &mut Registry, keyring: Arc<LiveKeyring>) -> Self {
        let metrics = Self::default();
        registry.register(
            "hookgate_keyring_reload_failures",
            "Key files that were not taken up, each counted once",
            metrics.failures.clone(),
        );
        registry.register(
            "hookgate_keyring_file_refused",
            "1 while the key file cannot be taken up and the keys from before are in use",
            metrics.refused.clone(),
        );
        registry.register_collector(Box::new(InUse(keyring)));
        metrics
    }
}

/// The ring in use, read at the moment of the scrape.
#[derive(Debug)]
struct InUse(Arc<LiveKeyring>);

#[derive(EncodeLabelSet)]
struct KeyLabels {
    kind: &'static str,
    kid: String,
    state: &'static str,
}

#[derive(EncodeLabelSet)]
struct FingerprintLabels {
    current: String,
    held: String,
}

impl Collector for InUse {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let ring = self.0.ring();
        let mut keys = encoder.encode_descriptor(
            "hookgate_keyring_key",
            "1 for each key that is held",
            None,
            MetricType::Gauge,
        )?;
        for row in ring.rows() {
            let state = row.course.state.word();
            let labels = KeyLabels { kind: row.r#use.word(), kid: row.kid, state };
            ConstGauge::new(1_i64).encode(keys.encode_family(&labels)?)?;
        }
        let mut fingerprint = encoder.encode_descriptor(
            "hookgate_keyring_fingerprint",
            "1; the labels are the same on replicas that have the same keys",
            None,
            MetricType::Gauge,
        )?;
        let (current, held) = (ring.fingerprint().current(), ring.fingerprint().held());
        let labels = FingerprintLabels { current, held };
        ConstGauge::new(1_i64).encode(fingerprint.encode_family(&labels)?)?;
        let since = ConstGauge::new(i64::try_from(self.0.since().secs()).unwrap_or(i64::MAX));
        since.encode(encoder.encode_descriptor(
            "hookgate_keyring_loaded_timestamp_seconds",
            "When the keys in use were taken up, in Unix time",
            None,
            MetricType::Gauge,
        )?)
    }
}
