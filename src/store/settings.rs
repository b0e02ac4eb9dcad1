//! What an operator says about the store.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::redis;

/// Where one-time ids, records and deliveries are kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// What keeps them. Default `disk`: nothing that was spent revives after a restart.
    pub backend: Backend,
    /// The folder of the `disk` backend, for one running hookgate alone; made if missing, readable by
    /// its owner only. It needs a local file system, or a volume that keeps its files' numbers.
    /// Default `/var/lib/hookgate`, where packages and images put it.
    pub directory: PathBuf,
    /// How many entries are held before new ones are refused; nothing that has not expired is ever
    /// dropped to make room. Default 1,000,000: with links that live for an hour that is 270 new ones
    /// a second. An entry takes about 200 bytes on disk or in memory, and what it records.
    pub max_entries: u64,
    /// The `redis` backend. In Redis the entries are the keys of its database, the shared limits' and
    /// those of others included: it should have one of its own.
    pub redis: redis::Settings,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            backend: Backend::Disk,
            directory: PathBuf::from("/var/lib/hookgate"),
            max_entries: 1_000_000,
            redis: redis::Settings::default(),
        }
    }
}

/// A kind of store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// In this process, gone at its end: for tests and demonstrations.
    Memory,
    /// In a file: one replica, and what was answered survives a crash and a power cut.
    Disk,
    /// In Redis or Valkey: several replicas share it.
    Redis,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_written_means_disk() {
        let settings: Settings = toml::from_str("").unwrap();
        assert_eq!(settings, Settings::default());
        assert_eq!(settings.backend, Backend::Disk);
    }

    #[test]
    fn what_is_written_is_read_and_nothing_else_is_taken() {
        let text = "backend = \"memory\"\ndirectory = \"/srv\"\nmax_entries = 5\n";
        let settings: Settings = toml::from_str(text).unwrap();
        assert_eq!(toml::from_str::<Settings>(&toml::to_string(&settings).unwrap()), Ok(settings));
        for bad in ["backend = \"tape\"", "max_entries = -1", "size = 3"] {
            assert!(toml::from_str::<Settings>(bad).is_err(), "{bad}");
        }
    }
}
