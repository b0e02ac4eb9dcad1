//! The files that settings name, and whether what is in them has changed.
//!
//! Content alone is compared, read through every symbolic link: no time stamp and no inode says that a
//! Kubernetes volume was swapped, or that a file was written again with what it held.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{Context, SHA256};
use serde::Serialize;
use serde_json::Value;

use crate::problem::{KeyPath, Segment};

/// What was found in one file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Print {
    Content([u8; 32]),
    /// No file, or one that cannot be read.
    Unread(io::ErrorKind),
}

impl std::fmt::Debug for Print {
    /// The digest of a short secret would tell it to whoever guesses.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Content(_) => "Content(..)",
            Self::Unread(_) => "Unread",
        })
    }
}

/// What was found in several files at one time. Equal where the same was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prints(BTreeMap<PathBuf, Print>);

impl Prints {
    /// Reads all of them.
    pub fn of(files: impl IntoIterator<Item = PathBuf>) -> Self {
        Self(files.into_iter().map(|file| (file.clone(), print(&file))).collect())
    }

    /// Reads the same files again.
    pub fn again(&self) -> Self {
        Self::of(self.0.keys().cloned())
    }

    /// These, and those of `others` that are not among them.
    #[must_use]
    pub fn or(mut self, others: Self) -> Self {
        for (file, print) in others.0 {
            self.0.entry(file).or_insert(print);
        }
        self
    }

    /// The folders in which the files have their names, and those in which they are.
    pub fn folders(&self) -> BTreeSet<PathBuf> {
        let real = self.0.keys().filter_map(|file| file.canonicalize().ok());
        self.0.keys().map(|file| folder(file)).chain(real.map(|file| folder(&file))).collect()
    }
}

fn folder(file: &Path) -> PathBuf {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
        Some(_) | None => PathBuf::from("."),
    }
}

fn print(file: &Path) -> Print {
    digest(file).map_or_else(|error| Print::Unread(error.kind()), Print::Content)
}

fn digest(file: &Path) -> io::Result<[u8; 32]> {
    // To open a pipe would wait for its writer.
    if !std::fs::metadata(file)?.is_file() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let (mut file, mut context) = (File::open(file)?, Context::new(&SHA256));
    let mut part = [0; 16 * 1024];
    loop {
        let read = match file.read(&mut part) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        context.update(part.get(..read).unwrap_or_default());
    }
    <[u8; 32]>::try_from(context.finish().as_ref()).map_err(io::Error::other)
}

/// The files that `settings` name, each once.
pub fn named(settings: &impl Serialize) -> BTreeSet<PathBuf> {
    named_by(settings).into_iter().map(|(_, file)| file).collect()
}

/// The files that `settings` name, each with its key: by house rule a key that names one ends in `_file`, or
/// in `_files` for a list.
pub fn named_by(settings: &impl Serialize) -> Vec<(KeyPath, PathBuf)> {
    let mut found = Vec::new();
    // What is no UTF-8 cannot have come out of TOML.
    if let Ok(value) = serde_json::to_value(settings) {
        collect(&value, &KeyPath::default(), &mut found);
    }
    found
}

fn collect(value: &Value, path: &KeyPath, found: &mut Vec<(KeyPath, PathBuf)>) {
    match value {
        Value::Object(members) => {
            for (key, value) in members {
                collect(value, &path.clone().key(key), found);
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                collect(item, &path.clone().index(index), found);
            }
        }
        Value::String(file) => {
            let last = if path.0.last().is_some_and(|last| matches!(last, Segment::Key(_))) {
                "_file"
            } else {
                "_files"
            };
            if path.name().ends_with(last) {
                found.push((path.clone(), PathBuf::from(file)));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn content_alone_counts_and_is_read_through_links() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        for (version, text) in [("v1", "one"), ("v2", "two"), ("v3", "one")] {
            fs::create_dir(path(version)).unwrap();
            fs::write(path(version).join("tls.crt"), text).unwrap();
        }
        let turn = |to: &str| {
            symlink(to, path("new")).unwrap();
            fs::rename(path("new"), path("..data")).unwrap();
        };
        turn("v1");
        symlink("..data/tls.crt", path("tls.crt")).unwrap();
        let first = Prints::of([path("tls.crt")]);
        assert_eq!(first, first.again());
        turn("v2");
        assert_ne!(first, first.again());
        turn("v3");
        assert_eq!(first, first.again(), "the same content");
        let real = path("v3").canonicalize().unwrap();
        assert_eq!(first.folders(), BTreeSet::from([dir.path().to_owned(), real]));
        fs::remove_dir_all(path("v3")).unwrap();
        assert_ne!(first, first.again(), "it is gone");
        assert_eq!(first.folders(), BTreeSet::from([dir.path().to_owned()]));
    }

    #[test]
    fn what_is_no_file_keeps_nobody_waiting() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        let found = Prints::of([pipe, dir.path().to_owned()]);
        assert_eq!(found, found.again());
    }

    #[test]
    fn finds_every_file_by_its_keys_name() {
        let settings = serde_json::json!({
            "key_file": "k", "file": "no", "profile": "no",
            "nested": [{"ca_file": "c", "crl_files": ["a", "b"]}], "other_file": null,
        });
        let names: Vec<PathBuf> = named(&settings).into_iter().collect();
        assert_eq!(names, ["a", "b", "c", "k"].map(PathBuf::from));
    }
}
