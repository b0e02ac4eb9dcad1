//! The folder a disk store lives in: the file, the lock, and the mark.
//!
//! The mark is an empty file whose name carries the number of the last commit. A name, because
//! `cp backup/* folder/` writes into the files that are there and leaves their inodes and birth times:
//! it can undo what a file says, not what it is called.

use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::UNIX_EPOCH;

use redb::backends::FileBackend;
use redb::{Builder, Database, DatabaseError};

use crate::store::disk::medium::{Identity, Mark, Medium, rewrite};

const FILE: &str = "state.redb";
const LOCK: &str = "state.lock";
const MARK: &str = "state.mark.";
const CLOSED: &str = ".closed";

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// Somebody else holds its lock.
    #[error("another process, or this one, already uses it")]
    InUse,
    /// It is not there and cannot be made, or may not be written to.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A folder that nobody else uses as long as this exists.
#[derive(Debug)]
pub struct Directory {
    path: PathBuf,
    mark: Mutex<Option<PathBuf>>,
    // The lock is the folder's and not the file's, so that it is also held while a file that failed is
    // opened anew, and against whoever puts another file in its place.
    _lock: File,
}

impl Directory {
    /// Takes the folder at `path`, making it (0700) where it is missing.
    ///
    /// # Errors
    /// [`DirectoryError`]
    pub fn take(path: &Path) -> Result<Self, DirectoryError> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)?;
        let lock = private_file().truncate(false).open(path.join(LOCK))?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path: path.to_owned(), mark: Mutex::new(None), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(DirectoryError::InUse),
            Err(TryLockError::Error(error)) => Err(error.into()),
        }
    }

    fn file(&self) -> PathBuf {
        self.path.join(FILE)
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    /// All marks in the folder; more than one where a backup was unpacked over it.
    fn marks(&self) -> io::Result<Vec<(PathBuf, Mark)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            if let Some(mark) = entry.file_name().to_str().and_then(parse_mark) {
                found.push((entry.path(), mark));
            }
        }
        Ok(found)
    }
}

fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).mode(0o600);
    options
}

fn parse_mark(name: &str) -> Option<Mark> {
    let number = name.strip_prefix(MARK)?;
    let (number, closed) = match number.strip_suffix(CLOSED) {
        Some(number) => (number, true),
        None => (number, false),
    };
    Some(Mark { commits: number.parse().ok()?, closed })
}

fn name_of(mark: Mark) -> String {
    format!("{MARK}{}{}", mark.commits, if mark.closed { CLOSED } else { "" })
}

impl fmt::Display for Directory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.display().fmt(f)
    }
}

impl Medium for Directory {
    fn database(&self, builder: &Builder) -> Result<Database, DatabaseError> {
        let file = private_file().truncate(false).open(self.file())?;
        // A new file must still be there after a power cut, or what is synced into it is not.
        self.sync()?;
        builder.create_with_backend(FileBackend::new(file)?)
    }

    fn rewrite(&self) -> io::Result<()> {
        match OpenOptions::new().read(true).write(true).open(self.file()) {
            Ok(file) => rewrite(&FileBackend::new(file).map_err(io::Error::other)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// The file's number and, where the file system knows it, its time of birth.
    fn identity(&self) -> io::Result<Identity> {
        let metadata = fs::metadata(self.file())?;
        let born = metadata
            .created()
            .ok()
            .and_then(|at| at.duration_since(UNIX_EPOCH).ok())
            .map_or(0, |since| since.as_nanos());
        let mut identity = [0; 24];
        let (inode, birth) = identity.split_at_mut(8);
        inode.copy_from_slice(&metadata.ino().to_be_bytes());
        birth.copy_from_slice(&born.to_be_bytes());
        Ok(Identity(identity))
    }

    fn mark(&self) -> io::Result<Option<Mark>> {
        let marks = self.marks()?;
        let alone = marks.len() == 1;
        let furthest = marks.into_iter().map(|(_, mark)| mark).max_by_key(|mark| mark.commits);
        Ok(furthest.map(|mark| Mark { closed: mark.closed && alone, ..mark }))
    }

    fn set_mark(&self, mark: Mark) -> io::Result<()> {
        let mut current = self.mark.lock().unwrap_or_else(PoisonError::into_inner);
        let next = self.path.join(name_of(mark));
        match current.take() {
            Some(former) => fs::rename(former, &next)?,
            None => {
                private_file().truncate(false).open(&next)?;
                for (path, _) in self.marks()? {
                    if path != next {
                        fs::remove_file(path)?;
                    }
                }
            }
        }
        *current = Some(next);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_read_as_they_are_written() {
        for mark in [Mark { commits: 0, closed: false }, Mark { commits: u64::MAX, closed: true }] {
            assert_eq!(parse_mark(&name_of(mark)), Some(mark));
        }
        for other in
            ["state.redb", "state.mark.", "state.mark.x", "state.mark.-1", "state.mark.1.old"]
        {
            assert_eq!(parse_mark(other), None, "{other}");
        }
    }

    #[test]
    fn the_furthest_of_several_marks_counts_and_is_not_trusted_to_be_closed() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::take(folder.path()).unwrap();
        assert_eq!(directory.mark().unwrap(), None);
        fs::write(folder.path().join("state.mark.9.closed"), "").unwrap();
        assert_eq!(directory.mark().unwrap(), Some(Mark { commits: 9, closed: true }));
        fs::write(folder.path().join("state.mark.7.closed"), "").unwrap();
        assert_eq!(directory.mark().unwrap(), Some(Mark { commits: 9, closed: false }));
        directory.set_mark(Mark { commits: 10, closed: false }).unwrap();
        directory.set_mark(Mark { commits: 11, closed: false }).unwrap();
        assert_eq!(directory.marks().unwrap().len(), 1);
        assert_eq!(directory.mark().unwrap(), Some(Mark { commits: 11, closed: false }));
    }

    #[test]
    fn a_mark_that_was_taken_away_is_set_again() {
        let folder = tempfile::tempdir().unwrap();
        let directory = Directory::take(folder.path()).unwrap();
        directory.set_mark(Mark { commits: 1, closed: false }).unwrap();
        fs::remove_file(folder.path().join("state.mark.1")).unwrap();
        assert!(directory.set_mark(Mark { commits: 2, closed: false }).is_err());
        directory.set_mark(Mark { commits: 3, closed: false }).unwrap();
        assert_eq!(directory.mark().unwrap(), Some(Mark { commits: 3, closed: false }));
    }

    #[test]
    fn a_folder_is_taken_once() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("a/b");
        let directory = Directory::take(&inside).unwrap();
        assert_eq!(fs::metadata(&inside).unwrap().mode() & 0o777, 0o700);
        assert_eq!(fs::metadata(inside.join(LOCK)).unwrap().mode() & 0o777, 0o600);
        assert!(matches!(Directory::take(&inside), Err(DirectoryError::InUse)));
        drop(directory);
        assert!(Directory::take(&inside).is_ok());
    }
}
