//! Why Redis gave no answer.

use std::path::PathBuf;

use crate::outbound::roots::RootsError;
use crate::problem::{Code, KeyPath, Problem};

/// Redis cannot be set up as the configuration says.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// An address is none.
    #[error(
        "state.redis.addresses: {address:?} is no address; write \"host:port\", without a scheme"
    )]
    Address {
        /// What was written.
        address: String,
    },
    /// There is no address.
    #[error("state.redis.addresses is empty; write [\"host:port\"]")]
    NoAddress,
    /// One server has several addresses.
    #[error(
        "state.redis.addresses: a standalone server has one address; write one, or topology = \
         \"sentinel\" or \"cluster\""
    )]
    SeveralAddresses,
    /// Sentinels are asked, and nobody says for what.
    #[error("state.redis.master is missing; write what the sentinels call the master")]
    NoMaster,
    /// What only sentinels need is given to others.
    #[error("state.redis.{key} is for topology = \"sentinel\"; remove it, or write that topology")]
    NoSentinel {
        /// Which key.
        key: &'static str,
    },
    /// A user without a password.
    #[error("state.redis.{username} needs a password; write state.redis.{password_file}, too")]
    NoPassword {
        /// The key that is there.
        username: &'static str,
        /// The key that is missing.
        password_file: &'static str,
    },
    /// A cluster has no databases.
    #[error("state.redis.database: a cluster has only database 0; remove the key")]
    Database,
    /// The prefix cannot begin keys.
    #[error(
        "state.redis.prefix: write 1 to 64 of the characters A-Z, a-z, 0-9, '.', ':', '_', '-'"
    )]
    Prefix,
    /// The timeout is out of bounds.
    #[error("state.redis.timeout: write a time from \"10ms\" to \"1s\"")]
    Timeout,
    /// The wait is out of bounds.
    #[error(
        "state.redis.wait_timeout: write at least \"1ms\" and at most half of state.redis.timeout"
    )]
    WaitTimeout,
    /// Something about TLS is set, and TLS is off.
    #[error("state.redis.{key} is set and TLS is off; write tls = true, or remove it")]
    TlsOff {
        /// Which key.
        key: &'static str,
    },
    /// A certificate without its key, or a key without its certificate.
    #[error("state.redis.{missing} is missing; a client certificate needs both of its files")]
    HalfCertificate {
        /// Which key is missing.
        missing: &'static str,
    },
    /// A name that no certificate bears.
    #[error(
        "state.redis.tls_server_name: {name:?} is no host name; write one such as \"redis.example.org\""
    )]
    ServerName {
        /// What was written.
        name: String,
    },
    /// A file cannot be used.
    #[error("state.redis.{key}: {path}: {why}", path = path.display())]
    File {
        /// Which key names it.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it; nothing of what is in it.
        why: String,
    },
    /// Nobody is trusted.
    #[error("state.redis.ca_file: {0}")]
    Roots(#[from] RootsError),
    /// The TLS library refuses what was given.
    #[error("state.redis.certificate_file and key_file cannot be used: {0}")]
    Tls(#[from] rustls::Error),
    /// The connection lives in a tokio runtime, and there is none here.
    #[error("Redis was opened outside a tokio runtime")]
    NoRuntime,
}

impl SetupError {
    /// What kind of problem it is, and with which key of `[state.redis]`.
    const fn about(&self) -> (Code, &'static str) {
        match self {
            Self::Address { .. } => (Code::BadValue, "addresses"),
            Self::NoAddress => (Code::MissingKey, "addresses"),
            Self::SeveralAddresses => (Code::Conflict, "addresses"),
            Self::NoMaster => (Code::MissingKey, "master"),
            Self::NoSentinel { key } | Self::TlsOff { key } => (Code::Conflict, key),
            Self::NoPassword { username, .. } => (Code::Conflict, username),
            Self::Database => (Code::Conflict, "database"),
            Self::Prefix => (Code::BadValue, "prefix"),
            Self::Timeout => (Code::OutOfRange, "timeout"),
            Self::WaitTimeout => (Code::OutOfRange, "wait_timeout"),
            Self::HalfCertificate { missing } => (Code::MissingKey, missing),
            Self::ServerName { .. } => (Code::BadValue, "tls_server_name"),
            Self::File { key, .. } => (Code::FileContent, key),
            Self::Roots(_) => (Code::FileContent, "ca_file"),
            Self::Tls(_) => (Code::CertificateKey, "key_file"),
            Self::NoRuntime => (Code::Outside, "addresses"),
        }
    }
}

impl From<SetupError> for Problem {
    fn from(error: SetupError) -> Self {
        let (code, key) = error.about();
        let path = KeyPath::of("state.redis").key(key);
        let text = error.to_string();
        let rest = text.strip_prefix(&path.to_string());
        Self::error(
            code,
            path,
            rest.map_or(text.as_str(), |rest| rest.trim_start_matches([':', ' '])),
        )
    }
}

/// A call to Redis failed. Whether it took effect is open in the case of [`RedisError::Down`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RedisError {
    /// It does not answer, or not in time, or not as agreed. The sentence says which server, why, and
    /// what an operator can do.
    #[error("Redis does not answer: {0}")]
    Down(String),
    /// It has no memory left.
    #[error("Redis is full")]
    Full,
}
