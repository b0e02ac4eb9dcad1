//! `[reload]`: taking up changes while it runs.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Period;

/// Taking up changes while it runs. SIGHUP is always answered, whatever stands here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Reload {
    /// Whether a change of the configuration file, or of any file that it names, is taken up by itself.
    pub watch: bool,
    /// How often the files are read again all the same. Some volumes tell nobody that they have changed:
    /// network file systems, and what Kubernetes mounts by `subPath`. At least 1 second.
    pub poll: Period,
}

impl Default for Reload {
    fn default() -> Self {
        Self { watch: true, poll: Period::secs(30) }
    }
}
