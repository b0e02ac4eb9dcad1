//! State that survives and is shared: one-time ids, records, deliveries.

pub mod contract;
pub mod settings;
mod metrics;
mod expiring;
pub mod memory;
pub mod disk;
pub mod repeat;

use std::sync::Arc;

use crate::clock::Clock;
use crate::entropy::Entropy;
use crate::store::disk::DiskStore;
use crate::store::memory::MemoryStore;

pub use contract::{Claim, Fill, Incarnation, Insert, Key, Namespace, Nonce, Store, StoreError};
pub use disk::opening::OpenError;
pub use metrics::Fullness;
pub use repeat::Repeating;
pub use settings::{Backend, Settings};

/// Opens the store that `settings` describe.
///
/// # Errors
/// [`OpenError`] says what to do.
pub fn open(
    settings: &Settings,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
) -> Result<Arc<dyn Store>, OpenError> {
    Ok(match settings.backend {
        Backend::Memory => {
            Arc::new(MemoryStore::new(settings.max_entries, clock, entropy.as_ref())?)
        }
        Backend::Disk => {
            Arc::new(DiskStore::open(&settings.directory, settings.max_entries, clock, entropy)?)
        }
    })
}
