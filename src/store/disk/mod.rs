//! A store in one file, for one replica: what was answered survives a crash and a power cut.
//!
//! A step is answered after a commit that the disk has acknowledged; callers who wait at the same time
//! share one. Claims live in memory: after a crash nobody has them. Dropping the store finishes what
//! was asked for, closes the file and lets go of the folder, which takes as long as one commit.
//!
//! The file remembers which file it is, and a mark beside it how far it was: a file that was removed,
//! emptied, copied or set back begins a new [`Incarnation`].

pub mod medium;
pub mod directory;
mod ledger;
pub mod opening;
mod operation;
mod queue;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use tokio::sync::oneshot;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::clock::{Clock, UnixTime};
use crate::entropy::Entropy;
use crate::store::contract::{Claim, Fill, Incarnation, Insert, Key, Nonce, Store, StoreError};
use crate::store::disk::directory::Directory;
use crate::store::disk::medium::Medium;
use crate::store::disk::opening::OpenError;
use crate::store::disk::operation::{Operation, Reply};
use crate::store::disk::queue::Queue;
use crate::store::disk::writer::{Shared, Writer};

/// Steps that may wait for the writer. A disk that falls behind by more is not waited for.
const QUEUE: usize = 4_096;
/// How long a step may take. Disks sync in milliseconds; one that hangs must not hang its callers.
const PATIENCE: Duration = Duration::from_secs(5);

/// The store in one file.
#[derive(Debug)]
pub struct DiskStore {
    shared: Arc<Shared>,
    capacity: u64,
    clock: Arc<dyn Clock>,
    queue: Option<SyncSender<Operation>>,
    writer: Option<JoinHandle<()>>,
}

impl DiskStore {
    /// Opens the store in the folder at `path` for `capacity` entries, or makes it.
    ///
    /// # Errors
    /// [`OpenError`] says what to do.
    pub fn open(
        path: &Path,
        capacity: u64,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, OpenError> {
        let directory =
            Directory::take(path).map_err(|error| OpenError::directory(path.to_owned(), error))?;
        Self::on(Arc::new(directory), capacity, clock, entropy)
    }

    /// Opens the store on `medium`, or makes it.
    ///
    /// # Errors
    /// [`OpenError`] says what to do.
    pub fn on(
        medium: Arc<dyn Medium>,
        capacity: u64,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<Self, OpenError> {
        let (shared, writer) = Writer::open(medium, capacity, Arc::clone(&clock), entropy)?;
        let (queue, asked) = sync_channel(QUEUE);
        let writer = thread::Builder::new()
            .name("store-writer".to_owned())
            .spawn(move || writer.run(Queue::new(asked)))
            .map_err(OpenError::Writer)?;
        Ok(Self { shared, capacity, clock, queue: Some(queue), writer: Some(writer) })
    }

    async fn ask<T>(&self, step: impl FnOnce(Reply<T>) -> Operation) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let queue = self.queue.as_ref().ok_or_else(|| down("it is closed"))?;
        queue.try_send(step(reply)).map_err(|error| match error {
            TrySendError::Full(_) => down("its disk has fallen behind"),
            TrySendError::Disconnected(_) => down("its writer has ended"),
        })?;
        match timeout(PATIENCE, answer).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(down("its writer gave up")),
            Err(_) => Err(down("its disk does not answer")),
        }
    }
}

fn down(reason: &str) -> StoreError {
    StoreError::Down(reason.to_owned())
}

impl Drop for DiskStore {
    fn drop(&mut self) {
        drop(self.queue.take());
        if let Some(writer) = self.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the store's writer had ended early");
        }
    }
}

#[async_trait]
impl Store for DiskStore {
    async fn insert(
        &self,
        key: Key,
        nonce: Nonce,
        value: Bytes,
        until: UnixTime,
    ) -> Result<Insert, StoreError> {
        self.ask(|reply| Operation::Insert { key, nonce, value, until, reply }).await
    }

    /// Looks at the last commit, never behind the writer.
    async fn get(&self, key: Key) -> Result<Option<Bytes>, StoreError> {
        let (shared, now) = (Arc::clone(&self.shared), self.clock.now());
        let look = spawn_blocking(move || {
            shared
                .with_file(|file| ledger::read(&file.database, &file.index, &key, now))
                .map_err(|error| StoreError::Down(error.to_string()))
        });
        match timeout(PATIENCE, look).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(down("it could not be read")),
            Err(_) => Err(down("its disk does not answer")),
        }
    }

    async fn claim(
        &self,
        key: Key,
        nonce: Nonce,
        lease_until: UnixTime,
    ) -> Result<Claim, StoreError> {
        self.ask(|reply| Operation::Claim { key, nonce, lease_until, reply }).await
    }

    async fn settle(
        &self,
        key: Key,
        nonce: Nonce,
        value: Bytes,
        until: UnixTime,
    ) -> Result<(), StoreError> {
        self.ask(|reply| Operation::Settle { key, nonce, value, until, reply }).await
    }

    async fn release(&self, key: Key, nonce: Nonce) -> Result<(), StoreError> {
        self.ask(|reply| Operation::Release { key, nonce, reply }).await
    }

    /// It changes while this runs only where the file was replaced after its disk had failed.
    fn incarnation(&self) -> Result<Incarnation, StoreError> {
        Ok(self.shared.incarnation())
    }

    fn has_forgotten(&self) -> bool {
        self.shared.has_forgotten()
    }

    fn fill(&self) -> Fill {
        let entries = self.shared.entries.load(Ordering::Relaxed);
        Fill { entries, capacity: self.capacity, memory: None }
    }

    /// Commits, and so finds out about the disk.
    async fn ready(&self) -> Result<(), StoreError> {
        self.ask(|reply| Operation::Probe { reply }).await
    }
}
