//! How old each client's keys are, worked out at the moment of the scrape.

use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::gateway::auth::keys::ClientKeys;

/// The gauge `hookgate_jwks_age_seconds`.
#[derive(Debug)]
pub(super) struct KeyAges(pub Vec<Arc<ClientKeys>>);

impl Collector for KeyAges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let mut family = encoder.encode_descriptor(
            "hookgate_jwks_age_seconds",
            "Time since a client's JWK Set was last read successfully",
            None,
            MetricType::Gauge,
        )?;
        for keys in &self.0 {
            if let Some(age) = keys.status().age {
                let labels = [("client", keys.client().as_str())];
                let secs = i64::try_from(age.as_secs()).unwrap_or(i64::MAX);
                ConstGauge::new(secs).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}
