//! Where a client's set comes from, time after time.

use std::fmt;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncReadExt;
use url::Url;

use crate::gateway::auth::freshness::Freshness;
use crate::gateway::auth::key_set::{KeySet, KeySetError};
use crate::outbound::fetch::{FetchError, Fetcher};

/// A set that can be asked for again.
#[derive(Clone, Debug)]
pub(super) enum Source {
    /// A JWK Set published at a URL.
    Server {
        /// Where.
        url: Url,
        /// With what.
        fetcher: Box<Fetcher>,
        /// How its caching headers are followed.
        freshness: Freshness,
    },
    /// A JWK Set in a file. The path is resolved anew each time, so that a swapped symbolic link is
    /// followed.
    File {
        /// Where.
        path: PathBuf,
        /// The most that is read.
        max_bytes: usize,
        /// How long until it is read again.
        poll: Duration,
    },
}

/// A set as it was read.
#[derive(Debug)]
pub(super) struct Loaded {
    /// The set.
    pub(super) set: KeySet,
    /// How long it may be used before its source should be asked again.
    pub(super) fresh_for: Duration,
}

/// Why a set could not be had.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum LoadError {
    /// The key server did not deliver.
    #[error("{0}")]
    Fetch(FetchError),
    /// The file cannot be read.
    #[error("the file cannot be read: {0}")]
    File(io::ErrorKind),
    /// The file is larger than allowed.
    #[error("the file is too large")]
    FileTooLarge,
    /// What was delivered is of no use.
    #[error("{0}")]
    Set(KeySetError),
}

impl LoadError {
    /// A stable word for log, metrics and status.
    pub(super) const fn code(&self) -> &'static str {
        match self {
            Self::Fetch(error) => error.code(),
            Self::File(_) => "file",
            Self::FileTooLarge => "too-large",
            Self::Set(KeySetError::NotASet) => "not-a-set",
            Self::Set(KeySetError::NoUsableKey(_)) => "no-usable-key",
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server { url, .. } => write!(f, "jwks_url {url}"),
            Self::File { path, .. } => write!(f, "jwks_file {}", path.display()),
        }
    }
}

impl Source {
    /// Asks for the set.
    ///
    /// # Errors
    /// [`LoadError`]
    pub(super) async fn load(&self, allow_public_test_keys: bool) -> Result<Loaded, LoadError> {
        let (json, fresh_for) = match self {
            Self::Server { url, fetcher, freshness } => {
                let fetched = fetcher.get(url).await.map_err(LoadError::Fetch)?;
                (fetched.body, freshness.of(&fetched.headers))
            }
            Self::File { path, max_bytes, poll } => {
                let file = tokio::fs::File::open(path).await;
                let file = file.map_err(|e| LoadError::File(e.kind()))?;
                let limit = u64::try_from(*max_bytes).unwrap_or(u64::MAX);
                let mut json = Vec::new();
                let read = file.take(limit.saturating_add(1)).read_to_end(&mut json).await;
                read.map_err(|e| LoadError::File(e.kind()))?;
                if json.len() > *max_bytes {
                    return Err(LoadError::FileTooLarge);
                }
                (Bytes::from(json), *poll)
            }
        };
        let set = KeySet::parse(&json, allow_public_test_keys).map_err(LoadError::Set)?;
        Ok(Loaded { set, fresh_for })
    }
}
