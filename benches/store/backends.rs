//! The backends that are measured, each ready to be used.

use std::any::Any;
use std::sync::Arc;

use hookgate::clock::{Clock, SystemClock};
use hookgate::entropy::SystemEntropy;
use hookgate::store::{Store, open};
use serde_json::{Value, json};

use crate::port::free_port;
use crate::server::RedisServer;
use crate::sync;

/// Room for whatever is measured.
pub(crate) const ROOM: u64 = 100_000_000;

/// A backend, and what must live as long as it.
pub(crate) struct Stand {
    pub(crate) name: &'static str,
    /// The configuration's `[state]`.
    pub(crate) state: Value,
    /// The configuration's `[keyring]`.
    pub(crate) keyring: Value,
    _behind: Box<dyn Any>,
}

impl Stand {
    /// Every backend there is, each a line. The first is what the others are compared with.
    pub(crate) fn all() -> Vec<Self> {
        vec![Self::memory(), Self::disk(), Self::redis()]
    }

    fn memory() -> Self {
        let state = json!({"backend": "memory", "max_entries": ROOM});
        Self { name: "memory", state, keyring: json!({}), _behind: Box::new(()) }
    }

    pub(crate) fn disk() -> Self {
        let folder = sync::folder();
        let state = json!({"backend": "disk", "directory": folder.path(), "max_entries": ROOM});
        Self { name: "disk", state, keyring: json!({}), _behind: Box::new(folder) }
    }

    /// A server on the same machine and the same disk, which syncs each write.
    fn redis() -> Self {
        let folder = sync::folder();
        let keyring = json!({"file": folder.path().join("keys.json")});
        let server =
            RedisServer::start_in(sync::folder(), free_port(), &["--appendfsync", "always"]);
        let redis = json!({"addresses": [server.address()], "timeout": "1s"});
        let state = json!({"backend": "redis", "redis": redis, "max_entries": ROOM});
        Self { name: "redis", state, keyring, _behind: Box::new((server, folder)) }
    }

    /// To be called within the runtime that is to use it.
    pub(crate) fn open(&self) -> Arc<dyn Store> {
        self.open_with(Arc::new(SystemClock::new()))
    }

    pub(crate) fn open_with(&self, clock: Arc<dyn Clock>) -> Arc<dyn Store> {
        let settings = serde_json::from_value(self.state.clone()).unwrap();
        open(&settings, clock, Arc::new(SystemEntropy::default())).unwrap()
    }
}
