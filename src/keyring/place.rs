//! Where a key file lies, and how it is opened without waiting for anybody.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

use crate::keyring::error::KeyringError;

/// Opens the file at `path` for reading. What is no regular file is refused: a named pipe would be waited
/// on until somebody writes to it, and has nothing to read the second time.
///
/// # Errors
/// `Read`, `NoFile`.
pub(crate) fn open(path: &Path) -> Result<File, KeyringError> {
    let unreadable = |why| KeyringError::Read { path: path.to_owned(), why };
    // Asked of the open file, so that it cannot be swapped in between; so opening must not wait either.
    let at_once = OFlags::NONBLOCK.bits().cast_signed();
    let file =
        OpenOptions::new().read(true).custom_flags(at_once).open(path).map_err(unreadable)?;
    if file.metadata().map_err(unreadable)?.is_file() {
        Ok(file)
    } else {
        Err(KeyringError::NoFile { path: path.to_owned() })
    }
}

/// The folder in which the file at `path` is or will be.
pub(crate) fn folder_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        Some(_) | None => PathBuf::from("."),
    }
}

/// Whether the kubelet put the file there: its names are links into a folder that it swaps as a whole. A
/// change in there would be lost, and who may read it is up to the volume.
pub(crate) fn is_mounted(path: &Path) -> bool {
    let named_by_kubelet = |folder: &Path| {
        folder.file_name().and_then(|name| name.to_str()).is_some_and(|name| name.starts_with(".."))
    };
    fs::canonicalize(path).is_ok_and(|target| target.parent().is_some_and(named_by_kubelet))
        || folder_of(path).join("..data").exists()
}
