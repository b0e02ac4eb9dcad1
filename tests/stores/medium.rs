//! A disk that can fail and forget.
//!
//! It has two layers, as a machine has: what reads see (the page cache) and what survives (the
//! platter). A write reaches the first, a sync carries it to the second. `crash` drops the first; a
//! failing sync behaves as Linux does: the writes that were to be synced stay visible, and no later
//! sync carries them over.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex};

use hookgate::store::disk::medium::{Identity, Mark, Medium, rewrite};
use redb::{Builder, Database, DatabaseError, StorageBackend};

#[derive(Clone, Debug)]
pub(crate) struct FickleDisk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    seen: Vec<u8>,
    durable: Vec<u8>,
    /// What the next sync carries over, in order.
    unsynced: Vec<Change>,
    /// Handles of an earlier process are dead.
    process: u64,
    mark: Option<Mark>,
    faults: Faults,
    syncs: u64,
}

#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Faults {
    pub(crate) sync: bool,
    pub(crate) write: bool,
    pub(crate) read: bool,
}

#[derive(Clone, Debug)]
enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write(offset, new) => {
                let end = offset + new.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[*offset..end].copy_from_slice(new);
            }
            Self::Length(length) => bytes.resize(*length, 0),
        }
    }
}

impl FickleDisk {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(State::default())))
    }

    pub(crate) fn set_faults(&self, faults: Faults) {
        self.0.lock().unwrap().faults = faults;
    }

    pub(crate) fn syncs(&self) -> u64 {
        self.0.lock().unwrap().syncs
    }

    /// The power goes: of what was not synced, those writes survive that `survives` picks.
    pub(crate) fn crash(&self, mut survives: impl FnMut() -> bool) {
        let mut state = self.0.lock().unwrap();
        state.process += 1;
        for change in std::mem::take(&mut state.unsynced) {
            if survives() {
                change.apply(&mut state.durable);
            }
        }
        state.seen = state.durable.clone();
    }

    fn handle(&self) -> Handle {
        Handle { disk: self.clone(), process: self.0.lock().unwrap().process }
    }
}

impl fmt::Display for FickleDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("on a fickle disk")
    }
}

impl Medium for FickleDisk {
    fn database(&self, builder: &Builder) -> Result<Database, DatabaseError> {
        builder.create_with_backend(self.handle())
    }

    fn rewrite(&self) -> io::Result<()> {
        rewrite(&self.handle())
    }

    fn identity(&self) -> io::Result<Identity> {
        Ok(Identity([7; 24]))
    }

    fn mark(&self) -> io::Result<Option<Mark>> {
        Ok(self.0.lock().unwrap().mark)
    }

    fn set_mark(&self, mark: Mark) -> io::Result<()> {
        self.0.lock().unwrap().mark = Some(mark);
        Ok(())
    }
}

/// The disk as one process has it open.
#[derive(Debug)]
struct Handle {
    disk: FickleDisk,
    process: u64,
}

impl Handle {
    fn alive<T>(
        &self,
        fails: impl Fn(Faults) -> bool,
        work: impl FnOnce(&mut State) -> io::Result<T>,
    ) -> io::Result<T> {
        let mut state = self.disk.0.lock().unwrap();
        if state.process != self.process {
            return Err(io::Error::other("the power is gone"));
        }
        if fails(state.faults) {
            return Err(io::Error::other("injected"));
        }
        work(&mut state)
    }
}

impl StorageBackend for Handle {
    fn len(&self) -> io::Result<u64> {
        self.alive(|_| false, |state| Ok(state.seen.len() as u64))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.alive(
            |faults| faults.read,
            |state| {
                let from = usize::try_from(offset).unwrap();
                let bytes = state.seen.get(from..from + out.len());
                out.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
                Ok(())
            },
        )
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.change(Change::Length(usize::try_from(len).unwrap()))
    }

    fn sync_data(&self) -> io::Result<()> {
        let failed = self.alive(
            |_| false,
            |state| {
                state.syncs += 1;
                let changes = std::mem::take(&mut state.unsynced);
                if state.faults.sync {
                    return Ok(true);
                }
                for change in changes {
                    change.apply(&mut state.durable);
                }
                Ok(false)
            },
        )?;
        if failed { Err(io::Error::other("injected")) } else { Ok(()) }
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.change(Change::Write(usize::try_from(offset).unwrap(), data.to_vec()))
    }
}

impl Handle {
    fn change(&self, change: Change) -> io::Result<()> {
        self.alive(
            |faults| faults.write,
            |state| {
                change.apply(&mut state.seen);
                state.unsynced.push(change);
                Ok(())
            },
        )
    }
}
