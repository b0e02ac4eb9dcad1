//! State that survives and is shared: one-time ids, records, deliveries.

pub mod contract;

pub use contract::{Claim, Fill, Incarnation, Insert, Key, Namespace, Nonce, Store, StoreError};
