//! The last good set of a client on disk, so that a restart during an outage of its key server still
//! knows its keys.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::clock::UnixTime;
use crate::gateway::auth::key_set::KeySet;
use crate::names::ClientId;

/// Where one client's set is kept.
#[derive(Clone, Debug)]
pub(super) struct Shelf {
    folder: PathBuf,
    file: PathBuf,
    draft: PathBuf,
    source: String,
}

/// A set that was kept.
#[derive(Debug)]
pub(super) struct Kept {
    /// When it was fetched.
    pub(super) fetched_at: UnixTime,
    /// The set's JSON.
    pub(super) json: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
struct Record<'a> {
    source: &'a str,
    fetched_at: u64,
    #[serde(borrow)]
    keys: Vec<&'a RawValue>,
}

#[derive(Serialize)]
struct Set<'a> {
    keys: Vec<&'a RawValue>,
}

impl Shelf {
    /// The place of `client` below `state_dir`, for sets that come from `source`.
    pub(super) fn new(state_dir: &Path, client: &ClientId, source: &str) -> Self {
        let folder = state_dir.join("jwks");
        Self {
            file: folder.join(format!("{client}.json")),
            draft: folder.join(format!("{client}.json.new")),
            folder,
            source: source.to_owned(),
        }
    }

    /// The kept set, where there is one that came from the same source. At most `max_bytes` of it
    /// are read.
    ///
    /// # Errors
    /// Where a file is there and cannot be read or understood.
    pub(super) fn load(&self, max_bytes: u64) -> io::Result<Option<Kept>> {
        let file = match File::open(&self.file) {
            Ok(file) => file,
            Err(absent) if absent.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut json = Vec::new();
        file.take(max_bytes).read_to_end(&mut json)?;
        let record: Record<'_> = serde_json::from_slice(&json)?;
        if record.source != self.source {
            return Ok(None);
        }
        let json = serde_json::to_vec(&Set { keys: record.keys })?;
        Ok(Some(Kept { fetched_at: UnixTime::from_secs(record.fetched_at), json }))
    }

    /// Keeps the usable keys of `set`. What was kept before stays whole until this is on disk.
    ///
    /// # Errors
    /// Where the disk refuses.
    pub(super) fn save(&self, set: &KeySet, fetched_at: UnixTime) -> io::Result<()> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
        let keys = set.usable_json();
        let record = Record { source: &self.source, fetched_at: fetched_at.secs(), keys };
        let json = serde_json::to_vec(&record)?;
        let mut draft = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&self.draft)?;
        draft.write_all(&json)?;
        draft.sync_all()?;
        fs::rename(&self.draft, &self.file)?;
        File::open(&self.folder)?.sync_all()
    }
}
