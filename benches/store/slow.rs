//! Spends on a disk in memory whose sync takes a known time, so that what the store adds to it can be seen.
//!
//! It is no disk: writes cost nothing, and a sync takes as long for many pages as for one. A real disk adds
//! to these ratios what its writes take.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use hookgate::clock::SystemClock;
use hookgate::entropy::SystemEntropy;
use hookgate::store::Store;
use hookgate::store::disk::DiskStore;
use hookgate::store::disk::medium::{Identity, Mark, Medium};
use redb::backends::InMemoryBackend;
use redb::{Builder, Database, DatabaseError, StorageBackend};
use tokio::runtime::Runtime;

use crate::backends::ROOM;
use crate::callers;
use crate::figures::{Effort, Times, ratio};

/// From a disk with a cache that outlives a power cut to a network volume.
const SYNCS: [Duration; 4] = [
    Duration::from_micros(250),
    Duration::from_micros(500),
    Duration::from_millis(1),
    Duration::from_millis(4),
];

pub(crate) fn measure(effort: Effort) {
    let runtime = Runtime::new().unwrap();
    for takes in SYNCS {
        let disk = SlowDisk { takes, mark: Mutex::new(None) };
        let sync = Times::of(effort.of(100), |_| disk.sync()).p50();
        let (clock, entropy) = (SystemClock::new(), SystemEntropy::default());
        let store = DiskStore::on(Arc::new(disk), ROOM, Arc::new(clock), Arc::new(entropy));
        let store: Arc<dyn Store> = Arc::new(store.unwrap());
        for count in [1, 64, 256] {
            let spends = callers::spends(&runtime, &store, count, effort.of(300));
            println!(
                "sync of {takes:>6?} {count:>4} at once   {}   ratio {:.2}",
                spends.line(),
                ratio(spends.p50(), sync),
            );
        }
    }
}

/// Bytes in memory, and a sync that takes its time.
#[derive(Debug)]
struct SlowDisk {
    takes: Duration,
    mark: Mutex<Option<Mark>>,
}

impl SlowDisk {
    fn sync(&self) {
        thread::sleep(self.takes);
    }
}

impl fmt::Display for SlowDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("on a slow disk")
    }
}

impl Medium for SlowDisk {
    fn database(&self, builder: &Builder) -> Result<Database, DatabaseError> {
        builder.create_with_backend(Bytes { bytes: InMemoryBackend::new(), takes: self.takes })
    }

    fn rewrite(&self) -> io::Result<()> {
        Ok(())
    }

    fn identity(&self) -> io::Result<Identity> {
        Ok(Identity([7; 24]))
    }

    fn mark(&self) -> io::Result<Option<Mark>> {
        Ok(*self.mark.lock().unwrap())
    }

    fn set_mark(&self, mark: Mark) -> io::Result<()> {
        *self.mark.lock().unwrap() = Some(mark);
        Ok(())
    }
}

#[derive(Debug)]
struct Bytes {
    bytes: InMemoryBackend,
    takes: Duration,
}

impl StorageBackend for Bytes {
    fn len(&self) -> io::Result<u64> {
        self.bytes.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.bytes.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.bytes.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        thread::sleep(self.takes);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.bytes.write(offset, data)
    }
}
