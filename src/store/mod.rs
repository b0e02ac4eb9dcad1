//! State that survives and is shared: one-time ids, records, deliveries.

pub mod contract;
pub mod settings;
mod expiring;
pub mod memory;

pub use contract::{Claim, Fill, Incarnation, Insert, Key, Namespace, Nonce, Store, StoreError};
pub use settings::{Backend, Settings};
