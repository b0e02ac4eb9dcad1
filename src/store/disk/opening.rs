//! Opening the file: is it a store, is it whole, and is it still the one that was promised upon?

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use redb::{Database, DatabaseError, Durability, StorageError, WriteTransaction};

use crate::clock::Clock;
use crate::entropy::{Entropy, NoEntropy, draw};
use crate::store::contract::Incarnation;
use crate::store::disk::directory::DirectoryError;
use crate::store::disk::ledger::{
    About, History, Index, Ledger, SCHEMA, read_about, read_index, write_about,
};
use crate::store::disk::medium::{Mark, Medium};

/// The most memory that pages of the file take up. Only the pages where entries begin and end are asked for
/// again and again.
const CACHE: usize = 16 << 20;

/// Why a store cannot be opened, said to the operator.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The folder is missing and cannot be made, or cannot be written to.
    #[error(
        "the store's folder {path} cannot be used: {source}; it must be writable for hookgate alone"
    )]
    Directory {
        /// The folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It has another user.
    #[error(
        "the store {place} is already in use by another hookgate: each needs a folder of its own, and \
         several replicas need a backend that they can share"
    )]
    InUse {
        /// The folder.
        place: String,
    },
    /// It is no store, or not a whole one.
    #[error(
        "the store {place} cannot be read: {reason}; move its state.redb away to begin with an empty \
         one: links made before will then be refused"
    )]
    Damaged {
        /// The folder.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
    /// Another version wrote it.
    #[error(
        "the store {place} has schema {found}, and this hookgate reads schema {known} only: run the \
         version that wrote it, or move its state.redb away: links made before will then be refused"
    )]
    Schema {
        /// The folder.
        place: String,
        /// The version found.
        found: u64,
        /// The version that is understood.
        known: u64,
    },
    /// The disk refused.
    #[error("the store {place} cannot be written: {reason}")]
    Disk {
        /// The folder.
        place: String,
        /// What the system says.
        reason: String,
    },
    /// A new history could not be given a mark.
    #[error(transparent)]
    Entropy(#[from] NoEntropy),
    /// Its writer could not be started.
    #[error("the store's writer cannot be started: {0}")]
    Writer(io::Error),
}

impl OpenError {
    /// The same, with the folder's path.
    pub(crate) fn directory(path: PathBuf, error: DirectoryError) -> Self {
        match error {
            DirectoryError::InUse => Self::InUse { place: path.display().to_string() },
            DirectoryError::Io(source) => Self::Directory { path, source },
        }
    }

    fn disk(medium: &dyn Medium, error: impl ToString) -> Self {
        Self::Disk { place: medium.to_string(), reason: error.to_string() }
    }

    fn damaged(medium: &dyn Medium, reason: impl ToString) -> Self {
        Self::Damaged { place: medium.to_string(), reason: reason.to_string() }
    }

    fn database(medium: &dyn Medium, error: DatabaseError) -> Self {
        use DatabaseError::{DatabaseAlreadyOpen, LockProtocolMismatch, Storage};
        if matches!(error, DatabaseAlreadyOpen | LockProtocolMismatch) {
            return Self::InUse { place: medium.to_string() };
        }
        if let Storage(StorageError::Io(error)) = &error
            && error.kind() != io::ErrorKind::InvalidData
        {
            return Self::disk(medium, error);
        }
        Self::damaged(medium, error)
    }

    fn transaction(medium: &dyn Medium, error: redb::Error) -> Self {
        if let redb::Error::Corrupted(reason) = error {
            Self::damaged(medium, reason)
        } else {
            Self::disk(medium, error)
        }
    }
}

/// An open file, and what is known about it.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) database: Database,
    pub(crate) index: Index,
    pub(crate) history: History,
    pub(crate) entries: u64,
}

/// Opens the file on `medium`, or makes it.
///
/// It ends with a commit. So whatever was read has reached the disk, an earlier process' last words
/// included, and a disk that cannot be written to is found out now.
pub(crate) fn open(
    medium: &Arc<dyn Medium>,
    clock: &dyn Clock,
    entropy: &dyn Entropy,
) -> Result<Opened, OpenError> {
    let medium = medium.as_ref();
    let mark = medium.mark().map_err(|error| OpenError::disk(medium, error))?;
    if !mark.is_some_and(|mark| mark.closed) {
        medium.rewrite().map_err(|error| OpenError::disk(medium, error))?;
    }
    // The check reads the whole file. Without it, one that was damaged from outside may panic later.
    let database = medium
        .database(Database::builder().set_cache_size(CACHE).set_check_integrity_on_open(true))
        .map_err(|error| OpenError::database(medium, error))?;
    let failed = |error| OpenError::transaction(medium, error);
    let transaction = begin(&database).map_err(failed)?;
    let about = match read_about(&transaction).map_err(failed)? {
        About::Foreign { schema: Some(found) } => {
            return Err(OpenError::Schema { place: medium.to_string(), found, known: SCHEMA });
        }
        About::Foreign { schema: None } => {
            return Err(OpenError::damaged(medium, "it was not made by hookgate"));
        }
        About::Fresh => None,
        About::Known(history) => Some(history),
    };
    let history = continue_history(medium, about, mark, clock, entropy)?;
    write_about(&transaction, &history).map_err(failed)?;
    let index = read_index(&transaction).map_err(failed)?;
    let entries =
        Ledger::open(&transaction, &index).and_then(|ledger| ledger.len()).map_err(failed)?;
    transaction.commit().map_err(|error| failed(error.into()))?;
    medium
        .set_mark(Mark { commits: history.commits, closed: false })
        .map_err(|error| OpenError::disk(medium, error))?;
    Ok(Opened { database, index, history, entries })
}

/// A write transaction whose commit is on disk when it returns.
pub(crate) fn begin(database: &Database) -> Result<WriteTransaction, redb::Error> {
    let mut transaction = database.begin_write()?;
    transaction.set_durability(Durability::Immediate)?;
    Ok(transaction)
}

/// The history that goes on from what was `found`, or a new one where the file has forgotten.
///
/// What this cannot notice: a whole file system or volume set back to an earlier state, where the file
/// keeps its number and its time of birth and the mark is set back with it; and an old copy of the
/// whole folder written into the existing files after the newer mark was removed.
fn continue_history(
    medium: &dyn Medium,
    found: Option<History>,
    mark: Option<Mark>,
    clock: &dyn Clock,
    entropy: &dyn Entropy,
) -> Result<History, OpenError> {
    let identity = medium.identity().map_err(|error| OpenError::disk(medium, error))?;
    let furthest = mark.map_or(0, |mark| mark.commits);
    let (kept, forgot) = match found {
        Some(history) if history.identity != identity => {
            (None, Some("its file is not the one that was written last, but a copy of it"))
        }
        Some(history) if mark.is_none() || history.commits < furthest => {
            (None, Some("its file lacks what was written last: an old copy was put back"))
        }
        Some(history) => (Some(history), None),
        None if mark.is_some() => (None, Some("its file was removed or emptied")),
        None => (None, None),
    };
    if let Some(reason) = forgot {
        tracing::warn!(
            store = %medium,
            reason,
            "the store has forgotten: it begins a new history, and links made before are refused"
        );
    }
    let commits = kept.as_ref().map_or(0, |history| history.commits).max(furthest);
    let (incarnation, follows) = match kept {
        Some(history) => (history.incarnation, history.follows),
        None => (Incarnation { mark: draw(entropy)?, since: clock.now() }, forgot.is_some()),
    };
    Ok(History { incarnation, follows, identity, commits: commits.saturating_add(1) })
}
