//! Why there is no key ring. Each sentence tells the operator what to do, and none holds key material.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

use crate::entropy::NoEntropy;
use crate::units::Period;

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyUse {
    /// Seals links and records, and vouches for card ids.
    Seal,
    /// Signs what others verify.
    Sign,
}

impl KeyUse {
    /// As messages, lists and metrics spell it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Seal => "seal",
            Self::Sign => "sign",
        }
    }
}

/// Why the keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// The file cannot be opened or read.
    #[error("the key file {} cannot be read: {why}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        why: io::Error,
    },
    /// A folder, a pipe or a device is there.
    #[error("the key file {} is no regular file", path.display())]
    NoFile {
        /// What is there.
        path: PathBuf,
    },
    /// The file or its directory cannot be made.
    #[error("the key file {} cannot be written: {why}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        why: io::Error,
    },
    /// Somebody besides the owner may read or change the file.
    #[error(
        "the key file {} has mode {mode:04o}: others than its owner can get at it; run chmod 0600 on it, \
         and rotate its keys if somebody may have read them (a group may read it only where this process \
         does not own it)",
        path.display()
    )]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The same where the file is a mounted secret, whose mode is not to be changed there.
    #[error(
        "the key file {} has mode {mode:04o}: others than its owner can get at it; it is a mounted secret, so \
         set {} and start the pod anew",
        path.display(),
        volume(*is_own)
    )]
    ExposedMount {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// Whether this process owns it.
        is_own: bool,
    },
    /// The file is a third user's, who may change it.
    #[error(
        "the key file {} belongs to the user {owner}, who could change its keys: give it (chown) to the user \
         that hookgate runs as",
        path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
        /// The id of the user whose it is.
        owner: u32,
    },
    /// The file is not what [`crate::keyring`] writes.
    #[error("the key file {} is damaged at line {line}, column {column}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Counted from 1; 0 where the whole file is meant.
        line: usize,
        /// Counted from 1; 0 where the whole line is meant.
        column: usize,
    },
    /// A later hookgate wrote the file.
    #[error(
        "the key file {} has format version {found}, and this hookgate reads version 1: use the hookgate that \
         wrote it, or a later one",
        path.display()
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// The version it names.
        found: u64,
    },
    /// A key is no key of its kind.
    #[error("the {} key {kid:?} is not a valid key", r#use.word())]
    BadKey {
        /// What it is for.
        r#use: KeyUse,
        /// Which one.
        kid: String,
    },
    /// Two keys have one id.
    #[error("two {} keys have the id {kid:?}", r#use.word())]
    SameId {
        /// What they are for.
        r#use: KeyUse,
        /// The id.
        kid: String,
    },
    /// A key began before it was made, or ended before it began.
    #[error(
        "the times of the {} key {kid:?} run backwards: put created, current_since and superseded right, each \
         no earlier than the one before, or nobody knows when the key may go",
        r#use.word()
    )]
    Times {
        /// What it is for.
        r#use: KeyUse,
        /// Which one.
        kid: String,
    },
    /// There must be exactly one key in use.
    #[error("{found} {} keys are in the state \"current\"; exactly one must be", r#use.word())]
    Current {
        /// What they are for.
        r#use: KeyUse,
        /// How many there are.
        found: usize,
    },
    /// There may be one key at most that is not in use yet.
    #[error("{found} {} keys are in the state \"next\"; one may be", r#use.word())]
    Next {
        /// What they are for.
        r#use: KeyUse,
        /// How many there are.
        found: usize,
    },
    /// What the configuration has sealed would outlive the key.
    #[error(
        "links and ids are configured to live for {}, and what the sealing key {kid} seals may live for {} at \
         most: shorten service.links.lifetime and service.feedback.lifetime, or change to a key for longer ones \
         (hookgate keys new --longest-life, then rotate)",
        spell(*wanted),
        spell(*allowed)
    )]
    Life {
        /// Which key.
        kid: u8,
        /// What it is for.
        allowed: Duration,
        /// What was asked for.
        wanted: Duration,
    },
    /// No key could be drawn.
    #[error(transparent)]
    NoEntropy(#[from] NoEntropy),
    /// The cryptographic library refused to work.
    #[error("the cryptographic library refused to derive a key")]
    Crypto,
}

/// How a volume must be mounted for this process.
const fn volume(is_own: bool) -> &'static str {
    if is_own {
        "defaultMode: 0400 on its volume, and no fsGroup for the pod (which runs as the file's owner),"
    } else {
        "fsGroup in the pod's securityContext and defaultMode: 0440 on its volume,"
    }
}

/// Whole seconds: that is how the file has it.
pub(crate) fn spell(length: Duration) -> String {
    Period::secs(length.as_secs()).to_string()
}
