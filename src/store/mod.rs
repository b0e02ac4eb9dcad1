//! State that survives and is shared: one-time ids, records, deliveries.

pub mod contract;
pub mod settings;
mod metrics;
mod expiring;
mod horizon;
pub mod memory;
pub mod disk;
pub mod repeat;
pub mod redis;

use std::sync::Arc;

use crate::clock::Clock;
use crate::entropy::{Entropy, NoEntropy};
use crate::redis::{Redis, SetupError};
use crate::store::disk::DiskStore;
use crate::store::memory::MemoryStore;
use crate::store::redis::RedisStore;

pub use contract::{
    Claim, Fill, Incarnation, Insert, Key, Memory, Namespace, Nonce, Store, StoreError, View,
};
pub use metrics::Fullness;
pub use repeat::Repeating;
pub use settings::{Backend, Settings};

/// Why there is no store, said to the operator.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The `disk` backend says what to do.
    #[error(transparent)]
    Disk(#[from] disk::opening::OpenError),
    /// The `redis` backend cannot be set up as the configuration says.
    #[error(transparent)]
    Redis(#[from] SetupError),
    /// A store could not be given a mark or a name.
    #[error(transparent)]
    Entropy(#[from] NoEntropy),
}

/// Opens the store that `settings` describe. Redis may be away.
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
        Backend::Redis => {
            let redis = Redis::open(&settings.redis)?;
            Arc::new(open_on(redis, settings, clock, entropy)?)
        }
    })
}

/// The `redis` backend that `settings` describe, on a way to Redis that is there already.
///
/// # Errors
/// [`OpenError::Entropy`]
pub fn open_on(
    redis: Redis,
    settings: &Settings,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
) -> Result<RedisStore, OpenError> {
    let patience = settings.redis.timeout.get();
    Ok(RedisStore::new(redis, patience, settings.max_entries, clock, entropy)?)
}
