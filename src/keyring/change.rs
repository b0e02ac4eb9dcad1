//! A key file that is changed by one writer at a time, and is never seen half-changed.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::entropy::Entropy;
use crate::keyring::error::KeyringError;
use crate::keyring::file::{KeyFile, Text, sweep_drafts};
use crate::keyring::place::{is_mounted, open};
use crate::keyring::ring::{Keyring, first_keys};
use crate::keyring::rotation::{RotationError, Wanted};
use crate::keyring::sign::SigningAlgorithm;
use crate::keyring::step::Step;

/// Changes a key file, in place or into another one.
#[derive(Clone, Debug)]
pub struct KeyFileWriter {
    /// The file that is read.
    pub file: PathBuf,
    /// The file that is made; without one, `file` is replaced.
    pub output: Option<PathBuf>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
}

impl KeyFileWriter {
    /// Makes a file with one key of each use, in use at once, where there is none.
    ///
    /// # Errors
    /// `Exists`, `File`.
    pub fn begin(
        &self,
        algorithm: SigningAlgorithm,
        longest_life: Duration,
    ) -> Result<Step, RotationError> {
        let keys = first_keys(algorithm, longest_life, &*self.entropy, &*self.clock)?;
        let path = self.output.as_ref().unwrap_or(&self.file);
        self.write_new(path, &keys)?;
        Ok(Step { changed: keys.rows(), staying: Vec::new() })
    }

    /// Adds next keys, which every replica can then open and verify with. The sealing key must be for what
    /// lives for `longest_life`.
    ///
    /// # Errors
    /// [`RotationError`]
    pub fn add(&self, wanted: &Wanted, longest_life: Duration) -> Result<Step, RotationError> {
        self.change(|keys| keys.add(wanted, longest_life, self.clock.now(), &*self.entropy))
    }

    /// Makes next keys current that are at least as old as `after`.
    ///
    /// # Errors
    /// [`RotationError`]
    pub fn rotate(&self, after: Duration) -> Result<Step, RotationError> {
        self.change(|keys| keys.rotate(self.clock.now(), after))
    }

    /// Drops earlier keys of whose work nothing can be alive.
    ///
    /// # Errors
    /// [`RotationError`]
    pub fn retire(&self) -> Result<Step, RotationError> {
        self.change(|keys| keys.retire(self.clock.now()))
    }

    /// Drops a key that is not in use. What it made is refused from then on.
    ///
    /// # Errors
    /// [`RotationError`]
    pub fn force_out(&self, kid: &str) -> Result<Step, RotationError> {
        self.change(|keys| keys.force_out(kid))
    }

    fn change(
        &self,
        edit: impl FnOnce(&mut KeyFile) -> Result<Step, RotationError>,
    ) -> Result<Step, RotationError> {
        if let Some(output) = &self.output {
            let mut keys = KeyFile::read_existing(&self.file)?;
            let step = edit(&mut keys)?;
            self.write_new(output, &keys)?;
            return Ok(step);
        }
        let (target, file) = take(&self.file)?;
        let text = Text::read(&target, &file)?;
        let mut keys = KeyFile::parse(&target, &text)?;
        let step = edit(&mut keys)?;
        // What every replica would refuse must not be written.
        Keyring::try_from(&keys)?;
        sweep_drafts(&target);
        keys.replace(&target, &text.access, &*self.entropy).map_err(|error| {
            if is_read_only(&error) {
                RotationError::Mounted { path: self.file.clone() }
            } else {
                error.into()
            }
        })?;
        Ok(step)
    }

    fn write_new(&self, path: &Path, keys: &KeyFile) -> Result<(), RotationError> {
        Keyring::try_from(keys)?;
        if keys.make(path, &*self.entropy)? {
            Ok(())
        } else {
            Err(RotationError::Exists { path: path.to_owned() })
        }
    }
}

/// The file behind all links, locked. The lock is on the file that is replaced: whoever comes second finds
/// it taken, or finds that the name leads to another file by now.
fn take(path: &Path) -> Result<(PathBuf, File), RotationError> {
    let unreadable = |why| KeyringError::Read { path: path.to_owned(), why };
    let target = fs::canonicalize(path).map_err(unreadable)?;
    if is_mounted(path) {
        return Err(RotationError::Mounted { path: path.to_owned() });
    }
    let file = open(&target)?;
    let busy = || RotationError::Busy { path: path.to_owned() };
    file.try_lock().map_err(|error| match error {
        TryLockError::WouldBlock => busy(),
        TryLockError::Error(why) => KeyringError::Write { path: path.to_owned(), why }.into(),
    })?;
    let of = |about: fs::Metadata| (about.dev(), about.ino());
    let named = fs::metadata(&target).map(of).map_err(unreadable)?;
    if file.metadata().map(of).map_err(unreadable)? == named {
        Ok((target, file))
    } else {
        Err(busy())
    }
}

fn is_read_only(error: &KeyringError) -> bool {
    matches!(error, KeyringError::Write { why, .. } if why.kind() == io::ErrorKind::ReadOnlyFilesystem)
}
