//! The backends that the contract is tried on, and small words that all tests use.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use hookgate::clock::{ManualClock, UnixTime};
use hookgate::entropy::{SystemEntropy, draw};
use hookgate::store::disk::DiskStore;
use hookgate::store::memory::MemoryStore;
use hookgate::store::{Key, Namespace, Nonce, OpenError, Store};
use tempfile::TempDir;

/// When tests begin.
pub(crate) const START: UnixTime = UnixTime::from_secs(1_700_000_000);

/// A store, its clock, and what must live as long as it.
pub(crate) struct Stand {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) clock: ManualClock,
    _folder: Option<TempDir>,
}

/// Makes a store for so many entries.
pub(crate) type Make = fn(u64) -> Stand;

/// Every backend there is, each a line.
pub(crate) const BACKENDS: &[(&str, Make)] = &[("memory", memory), ("disk", disk)];

fn memory(capacity: u64) -> Stand {
    let clock = ManualClock::new(START);
    let store =
        MemoryStore::new(capacity, Arc::new(clock.clone()), &SystemEntropy::default()).unwrap();
    Stand { store: Arc::new(store), clock, _folder: None }
}

fn disk(capacity: u64) -> Stand {
    let clock = ManualClock::new(START);
    let folder = tempfile::tempdir().unwrap();
    let store = open_with(folder.path(), capacity, &clock).unwrap();
    Stand { store: Arc::new(store), clock, _folder: Some(folder) }
}

/// Opens a disk store in `folder`.
pub(crate) fn open_with(
    folder: &Path,
    capacity: u64,
    clock: &ManualClock,
) -> Result<DiskStore, OpenError> {
    DiskStore::open(folder, capacity, Arc::new(clock.clone()), Arc::new(SystemEntropy::default()))
}

/// Opens a disk store in `folder` at the time tests begin.
pub(crate) fn open(folder: &Path) -> DiskStore {
    open_with(folder, 100_000, &ManualClock::new(START)).unwrap()
}

pub(crate) fn key(n: u64) -> Key {
    Key::new(Namespace::Link, &[&n.to_be_bytes()])
}

pub(crate) fn nonce() -> Nonce {
    Nonce(draw(&SystemEntropy::default()).unwrap())
}

pub(crate) fn value(n: u64) -> Bytes {
    Bytes::from(format!("value {n}"))
}

/// So many seconds after the start.
pub(crate) fn at(secs: u64) -> UnixTime {
    UnixTime::from_secs(START.secs() + secs)
}
