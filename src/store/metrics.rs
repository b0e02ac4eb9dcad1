//! How full the store is: it refuses when it is full, and says so long before.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::store::contract::{Fill, Memory, Store};

/// From this part on, in percent, a store is nearly full: a fifth is left for whoever gets the message.
const NEARLY: u64 = 80;
/// Below this part, in percent, it no longer is. Lower, so that a store that hovers does not say so again
/// and again.
const NO_LONGER: u64 = 70;

/// The gauges `hookgate_store_…`, read at the moment of the scrape. Clones share one state.
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

    /// Whether it was nearly full when it was last looked at.
    pub fn is_nearly_full(&self) -> bool {
        self.nearly_full.load(Ordering::Relaxed)
    }

    /// Looks how full it is, and logs where it has become nearly full or is so no longer. For being
    /// called now and then: nobody may be scraping.
    pub fn look(&self) -> Fill {
        let fill = self.store.fill();
        let was = self.nearly_full.load(Ordering::Relaxed);
        let is = is_nearly_full(fill, was);
        let Fill { entries, capacity, memory } = fill;
        if is != was && self.nearly_full.swap(is, Ordering::Relaxed) == was {
            let (memory_used, memory_limit) =
                (memory.map(|memory| memory.used), memory.map(|memory| memory.limit));
            if is {
                tracing::warn!(
                    entries,
                    capacity,
                    memory_used,
                    memory_limit,
                    "the store is nearly full: then it refuses"
                );
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
    let reaches = |used: u64, of: u64| u128::from(used) * 100 >= u128::from(of) * u128::from(part);
    reaches(fill.entries, fill.capacity)
        || fill.memory.is_some_and(|memory: Memory| reaches(memory.used, memory.limit))
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
                "hookgate_store_memory_bytes",
                "Memory in use at the Redis server that has the least left for its size; 0 without a limit",
                fill.memory.map_or(0, |memory| memory.used),
            ),
            (
                "hookgate_store_memory_limit_bytes",
                "The maxmemory of that server; 0 without a limit",
                fill.memory.map_or(0, |memory| memory.limit),
            ),
            (
                "hookgate_store_nearly_full",
                "1 from 80 % of the capacity or of that memory on, until both are below 70 % again",
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
        let of = |entries, capacity| Fill { entries, capacity, memory: None };
        let says = |entries, was| is_nearly_full(of(entries, 1000), was);
        let in_memory = |used, was| {
            let memory = Some(Memory { used, limit: 1000 });
            is_nearly_full(Fill { memory, ..of(1, 1000) }, was)
        };
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
            let memory = (in_memory(entries, false), in_memory(entries, true));
            assert_eq!(memory, (rising, falling), "{entries} bytes");
        }
        assert!(!is_nearly_full(of(u64::MAX / 2, u64::MAX), true));
        assert!(is_nearly_full(of(0, 0), false), "it refuses everything");
    }
}
