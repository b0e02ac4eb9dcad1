//! The one thread that writes: it takes all that is asked for, commits it at once, and then answers.
//!
//! While one commit waits for the disk the next batch gathers, so the price of a sync is shared by
//! everybody who waits. After a failure nothing is answered from the file until it was opened anew:
//! what a failed commit left behind is unknown.

use std::mem;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use redb::Database;

use crate::clock::Clock;
use crate::entropy::Entropy;
use crate::store::contract::{Incarnation, Nonce};
use crate::store::disk::ledger::{Index, Ledger, has_ended, write_commits};
use crate::store::disk::medium::{Mark, Medium};
use crate::store::disk::opening::{OpenError, Opened, begin, open};
use crate::store::disk::operation::{Answer, Batch, Effects, Operation};
use crate::store::disk::queue::Queue;
use crate::store::expiring::Expiring;
use crate::store::horizon::Horizon;

/// Without work for this long, what has ended is swept.
const IDLE: Duration = Duration::from_secs(1);
/// How much is swept in one transaction of its own. It costs little more than the sync, which is the most
/// that a caller waits for it.
const SWEPT_WHEN_IDLE: usize = 1_000;
/// How much is swept with each step. More than one: under steady load the store shrinks, and a batch
/// finds room for itself wherever enough has ended.
const SWEPT_PER_STEP: usize = 2;

/// The next batch may gather for this part of the time that the last commit took, 1/8.
const PAUSE_SHARE: u32 = 8;
/// And no longer than this, however slow the disk is.
const LONGEST_PAUSE: Duration = Duration::from_millis(1);

const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(30);

/// An open file and where what is in it stands.
#[derive(Debug)]
pub(crate) struct File {
    pub(crate) database: Database,
    pub(crate) index: Index,
}

/// What readers share with the writer.
#[derive(Debug)]
pub(crate) struct Shared {
    /// None while the file is closed: after a failure, until it was opened anew.
    file: RwLock<Option<File>>,
    incarnation: Mutex<Incarnation>,
    /// Whether that one follows another.
    forgotten: AtomicBool,
    pub(crate) entries: AtomicU64,
}

impl Shared {
    pub(crate) fn incarnation(&self) -> Incarnation {
        *self.incarnation.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn has_forgotten(&self) -> bool {
        self.forgotten.load(Ordering::Acquire)
    }

    /// Does `work` on the file, if it is open.
    pub(crate) fn with_file<T>(
        &self,
        work: impl FnOnce(&File) -> Result<T, redb::Error>,
    ) -> Result<T, redb::Error> {
        let guard = self.file.read().unwrap_or_else(PoisonError::into_inner);
        guard.as_ref().map_or(Err(redb::Error::DatabaseClosed), work)
    }

    /// Waits for readers, who hold it for one look each.
    fn replace_file(&self, file: Option<File>) -> Option<File> {
        let mut guard = self.file.write().unwrap_or_else(PoisonError::into_inner);
        mem::replace(&mut guard, file)
    }
}

/// The writer's own state.
#[derive(Debug)]
pub(crate) struct Writer {
    shared: Arc<Shared>,
    medium: Arc<dyn Medium>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    capacity: u64,
    claims: Expiring<Nonce>,
    horizon: Horizon,
    commits: u64,
    down: Option<Down>,
    /// Grows from failure to failure, until a commit works.
    delays: Option<ExponentialBackoff>,
    mark_failed: bool,
}

/// What became of a batch, and who is to be told.
struct Outcome {
    answers: Vec<Answer>,
    /// There are some only where the result is an error.
    unserved: Vec<Operation>,
    result: Result<(), String>,
}

impl Outcome {
    fn tell(self) {
        let result = self.result.as_ref().copied().map_err(String::as_str);
        for answer in self.answers {
            answer(result);
        }
        for operation in self.unserved {
            operation.refuse(result.err().unwrap_or_default());
        }
    }
}

/// Why nothing can be promised, and when it is tried again.
#[derive(Debug)]
struct Down {
    reason: String,
    retry_at: Duration,
}

impl Writer {
    /// Opens the file. What is returned first is for readers.
    pub(crate) fn open(
        medium: Arc<dyn Medium>,
        capacity: u64,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Result<(Arc<Shared>, Self), OpenError> {
        let Opened { database, index, history, entries } =
            open(&medium, clock.as_ref(), entropy.as_ref())?;
        let shared = Arc::new(Shared {
            file: RwLock::new(Some(File { database, index })),
            incarnation: Mutex::new(history.incarnation),
            forgotten: AtomicBool::new(history.follows),
            entries: AtomicU64::new(entries),
        });
        let writer = Self {
            shared: Arc::clone(&shared),
            medium,
            clock,
            entropy,
            capacity,
            claims: Expiring::new(),
            horizon: Horizon::default(),
            commits: history.commits,
            down: None,
            delays: None,
            mark_failed: false,
        };
        Ok((shared, writer))
    }

    /// Works until nobody can ask any more and all that was asked is answered; then closes the file.
    pub(crate) fn run(mut self, mut queue: Queue) {
        let mut patience = IDLE;
        loop {
            match queue.next(patience) {
                Ok(batch) => {
                    self.serve(batch, &mut queue);
                    patience = IDLE;
                }
                Err(RecvTimeoutError::Timeout) => {
                    patience = if self.sweep() { Duration::ZERO } else { IDLE };
                }
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.close();
    }

    /// Commits and answers `batch`, and lets the next one gather.
    ///
    /// Callers who were answered together may ask again at once. Where others wait already, a commit begun
    /// without them would make both halves wait for each other's commits, two for everybody, from then on.
    fn serve(&mut self, batch: Vec<Operation>, queue: &mut Queue) {
        let (began, count) = (self.clock.monotonic(), batch.len());
        let outcome = self.commit(batch);
        let took = self.clock.monotonic().saturating_sub(began);
        let crowd = queue.waiting().saturating_add(count);
        outcome.tell();
        if crowd > 1 {
            let pause = took.checked_div(PAUSE_SHARE).unwrap_or_default().min(LONGEST_PAUSE);
            queue.gather(crowd, pause, self.clock.as_ref());
        }
    }

    fn commit(&mut self, batch: Vec<Operation>) -> Outcome {
        if let Err(reason) = self.reopen_when_due() {
            return Outcome { answers: Vec::new(), unserved: batch, result: Err(reason) };
        }
        let swept = batch.len().saturating_mul(SWEPT_PER_STEP);
        let mut answers = Vec::with_capacity(batch.len());
        let mut unserved = batch.into_iter();
        let result = self.write(|batch| {
            batch.sweep(swept)?;
            for operation in unserved.by_ref() {
                answers.push(batch.apply(operation)?);
            }
            Ok(())
        });
        let result = result.map_err(|error| self.fail(&error));
        Outcome { answers, unserved: unserved.collect(), result }
    }

    /// Sweeps one portion in a transaction of its own; whether there is more.
    fn sweep(&mut self) -> bool {
        if self.reopen_when_due().is_err() {
            return false;
        }
        let horizon = self.horizon.at(self.clock.now(), self.clock.monotonic());
        let ended = self.shared.with_file(|file| has_ended(&file.database, horizon));
        let result = match ended {
            Ok(true) => self.write(|batch| batch.sweep(SWEPT_WHEN_IDLE)).map(|()| true),
            other => other,
        };
        result.unwrap_or_else(|error| {
            self.fail(&error);
            false
        })
    }

    /// Runs `steps` in one transaction. When this returns without an error they are on disk, and
    /// with an error it is unknown whether they are.
    fn write(
        &mut self,
        steps: impl FnOnce(&mut Batch<'_, '_>) -> Result<(), redb::Error>,
    ) -> Result<(), redb::Error> {
        let mut effects = Effects::default();
        let now = self.clock.now();
        let horizon = self.horizon.at(now, self.clock.monotonic());
        let result = self.shared.with_file(|file| {
            let transaction = begin(&file.database)?;
            let ledger = Ledger::open(&transaction, &file.index)?;
            let mut batch = Batch::new(ledger, &mut self.claims, now, horizon, self.capacity)?;
            let taken = steps(&mut batch);
            effects = batch.finish();
            taken?;
            if effects.commit {
                write_commits(&transaction, self.commits.saturating_add(1))?;
                transaction.commit()?;
            } else {
                transaction.abort()?;
            }
            Ok(())
        });
        let undone = if result.is_ok() { &effects.settled } else { &effects.claimed };
        for key in undone {
            self.claims.remove(key);
        }
        if result.is_ok() {
            if effects.commit {
                self.commits = self.commits.saturating_add(1);
                self.delays = None;
                self.leave_mark();
            }
            self.show_fill(effects.entries);
        }
        result
    }

    fn show_fill(&self, entries: u64) {
        let claims = u64::try_from(self.claims.len()).unwrap_or(u64::MAX);
        self.shared.entries.store(entries.saturating_add(claims), Ordering::Relaxed);
    }

    /// The mark only helps to notice an old copy later: no promise waits for it.
    fn leave_mark(&mut self) {
        let mark = Mark { commits: self.commits, closed: false };
        let result = self.medium.set_mark(mark);
        if let Err(error) = &result
            && !self.mark_failed
        {
            tracing::warn!(
                store = %self.medium, %error,
                "the store cannot leave its mark: an old copy put back may go unnoticed"
            );
        }
        self.mark_failed = result.is_err();
    }

    /// Closes the file after an error, and says what callers are told.
    fn fail(&mut self, error: &redb::Error) -> String {
        let reason = format!("its disk failed: {error}");
        tracing::error!(store = %self.medium, reason, "the store is down");
        drop(self.shared.replace_file(None));
        self.postpone(reason.clone());
        reason
    }

    fn postpone(&mut self, reason: String) {
        let delay = self.delays.get_or_insert_with(retry_delays).next().unwrap_or(LAST_RETRY);
        let retry_at = self.clock.monotonic().saturating_add(delay);
        self.down = Some(Down { reason, retry_at });
    }

    /// Fails with what callers are told as long as the file is closed.
    fn reopen_when_due(&mut self) -> Result<(), String> {
        let Some(down) = self.down.take() else { return Ok(()) };
        if self.clock.monotonic() < down.retry_at {
            let reason = down.reason.clone();
            self.down = Some(down);
            return Err(reason);
        }
        match open(&self.medium, self.clock.as_ref(), self.entropy.as_ref()) {
            Ok(opened) => {
                self.take_over(opened);
                Ok(())
            }
            Err(error) => {
                let reason = error.to_string();
                self.postpone(reason.clone());
                Err(reason)
            }
        }
    }

    fn take_over(&mut self, opened: Opened) {
        let Opened { database, index, history, entries } = opened;
        self.commits = history.commits;
        // First, so that nobody takes the new history for one that follows none.
        self.shared.forgotten.store(history.follows, Ordering::Release);
        *self.shared.incarnation.lock().unwrap_or_else(PoisonError::into_inner) =
            history.incarnation;
        self.show_fill(entries);
        drop(self.shared.replace_file(Some(File { database, index })));
        tracing::info!(store = %self.medium, "the store works again");
    }

    fn close(self) {
        let Some(file) = self.shared.replace_file(None) else { return };
        let closed = file.database.close().map_err(|error| error.to_string()).and_then(|()| {
            let mark = Mark { commits: self.commits, closed: true };
            self.medium.set_mark(mark).map_err(|error| error.to_string())
        });
        if let Err(error) = closed {
            tracing::warn!(store = %self.medium, error, "the store was not closed in good order");
        }
    }
}

fn retry_delays() -> ExponentialBackoff {
    ExponentialBuilder::new()
        .with_min_delay(FIRST_RETRY)
        .with_max_delay(LAST_RETRY)
        .without_max_times()
        .build()
}
