//! What an operator says about Redis.

use serde::{Deserialize, Serialize};

use crate::units::Period;

/// Where Redis (7.0 or later) or Valkey is, and who asks. It is shared by all replicas.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// `host:port` of the server. Default `127.0.0.1:6379`.
    pub addresses: Vec<String>,
    /// What every key begins with, so that others may use the same server. Default `hookgate`.
    pub prefix: String,
    /// The most that a call waits for Redis, connecting included. Default 250 ms: half of what a clinician
    /// waits for the whole call.
    pub timeout: Period,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            addresses: vec!["127.0.0.1:6379".to_owned()],
            prefix: "hookgate".to_owned(),
            timeout: Period::millis(250),
        }
    }
}
