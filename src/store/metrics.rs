//! How full the store is, read at the moment of the scrape: it refuses when it is full, and says so long
//! before.

use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::store::contract::Store;

/// The gauges `hookgate_store_entries` and `hookgate_store_capacity`.
#[derive(Debug)]
pub struct Fullness(pub Arc<dyn Store>);

impl Collector for Fullness {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let fill = self.0.fill();
        let gauges = [
            (
                "hookgate_store_entries",
                "Entries held, expired ones that are not swept yet included",
                fill.entries,
            ),
            (
                "hookgate_store_capacity",
                "Entries that are taken before new ones are refused",
                fill.capacity,
            ),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        Ok(())
    }
}
