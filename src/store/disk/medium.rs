//! What the file of a disk store lies on, as far as the store must know it.
//!
//! [`Directory`](crate::store::disk::directory::Directory) is the one in use. It is a trait so that the
//! promise "on disk before it is answered" can be tried against a medium that fails or forgets.

use std::fmt;
use std::io;

use redb::{Builder, Database, DatabaseError, StorageBackend};

/// How much is written anew at a time: what file systems allocate and the database calls a page.
const PAGE: usize = 4_096;

/// Tells one file from another, also from its own copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity(pub [u8; 24]);

/// What is remembered about the file outside the file: an old copy of it cannot bring this back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The last commit that is known to have reached the disk. The file may be further, never less far.
    pub commits: u64,
    /// Whether the file was closed in good order after it.
    pub closed: bool,
}

/// Where the bytes of a store are. Its `Display` names the place to an operator.
pub trait Medium: fmt::Debug + fmt::Display + Send + Sync + 'static {
    /// Opens the database that `builder` describes, or makes it.
    ///
    /// # Errors
    /// [`DatabaseError`]
    fn database(&self, builder: &Builder) -> Result<Database, DatabaseError>;

    /// Writes all bytes anew and syncs them, while no database is open; nothing where there is no file
    /// yet.
    ///
    /// After a failed sync the kernel may hold pages that look written and are not. What was read from
    /// such a file must not be built upon before this has succeeded.
    ///
    /// # Errors
    /// [`io::Error`]
    fn rewrite(&self) -> io::Result<()>;

    /// The identity of the file that is there now.
    ///
    /// # Errors
    /// [`io::Error`]
    fn identity(&self) -> io::Result<Identity>;

    /// The furthest mark that was left; none where there has been no store.
    ///
    /// # Errors
    /// [`io::Error`]
    fn mark(&self) -> io::Result<Option<Mark>>;

    /// Replaces the mark. It need not be synced: a mark that lags notices less, and nothing wrongly.
    ///
    /// # Errors
    /// [`io::Error`]
    fn set_mark(&self, mark: Mark) -> io::Result<()>;
}

/// Writes all pages of `backend` anew, in place, and syncs them. An interruption does no harm: each
/// byte is replaced by itself.
///
/// Empty pages are left alone: nearly all are holes in a file that was lengthened in advance, and filling
/// them would ask for room that a full disk does not have. No page that the database reads by itself is
/// empty.
///
/// # Errors
/// [`io::Error`]
pub fn rewrite(backend: &dyn StorageBackend) -> io::Result<()> {
    let length = backend.len()?;
    let mut page = vec![0; PAGE];
    let mut offset = 0;
    while offset < length {
        let left = usize::try_from(length - offset).unwrap_or(PAGE).min(PAGE);
        page.resize(left, 0);
        backend.read(offset, &mut page)?;
        if page.iter().any(|byte| *byte != 0) {
            backend.write(offset, &page)?;
        }
        offset += u64::try_from(left).map_err(io::Error::other)?;
    }
    backend.sync_data()
}
