//! How full the store is: it refuses when it is full, and says so long before.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::store::contract::{Fill, Store};

/// From this part on, in percent, a store is nearly full: a fifth is left for whoever gets the message.
const NEARLY: u64 = 80;
/// Below this part, in percent, it no longer is. Lower, so that a store that hovers does not say so again
/// and again.
const NO_LONGER: u64 = 70;

/// The gauges `hookgate_store_entries`, `hookgate_store_capacity` and `hookgate_store_nearly_full`, read
/// at the moment of the scrape. Clones share one state.
#[derive(Clone, Debug)]
pub struct Fullness {
    store: Arc<dyn Store>,
    nearly_full: Arc<AtomicBool>,
}

impl Fullness {
    /// That of `store`.
    pub fn new(store: Arc<dyn Store>) -> Self {
        Self { store, nearly_full: Arc::default() }
    }

    /// Looks how full it is, and logs where it has become nearly full or is so no longer. For being
    /// called now and then: nobody may be scraping.
    pub fn look(&self) -> Fill {
        let fill = self.store.fill();
        let was = self.nearly_full.load(Ordering::Relaxed);
        let is = is_nearly_full(fill, was);
        let Fill { entries, capacity } = fill;
        if is != was && self.nearly_full.swap(is, Ordering::Relaxed) == was {
            if is {
                tracing::warn!(entries, capacity, "the store is nearly full: then it refuses");
            } else {
                tracing::info!(entries, capacity, "the store has room again");
            }
        }
        fill
    }
}

/// Whether it is, where it `was` a moment ago.
fn is_nearly_full(fill: Fill, was: bool) -> bool {
    let part = if was { NO_LONGER } else { NEARLY };
    u128::from(fill.entries) * 100 >= u128::from(fill.capacity) * u128::from(part)
}

impl Collector for Fullness {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let fill = self.look();
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
            (
                "hookgate_store_nearly_full",
                "1 from 80 % of the capacity on, until it is below 70 % again",
                u64::from(self.nearly_full.load(Ordering::Relaxed)),
            ),
        ];
        for (name, help, value) in gauges {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nearly_begins_at_80_and_ends_below_70_percent() {
        let says = |entries, was| is_nearly_full(Fill { entries, capacity: 1000 }, was);
        for (entries, rising, falling) in [
            (0, false, false),
            (699, false, false),
            (700, false, true),
            (799, false, true),
            (800, true, true),
            (1000, true, true),
            (u64::MAX, true, true),
        ] {
            assert_eq!((says(entries, false), says(entries, true)), (rising, falling), "{entries}");
        }
        let whole = Fill { entries: u64::MAX / 2, capacity: u64::MAX };
        assert!(!is_nearly_full(whole, true));
        assert!(is_nearly_full(Fill { entries: 0, capacity: 0 }, false), "it refuses everything");
    }
}
