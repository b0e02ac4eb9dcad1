//! Why a server cannot be used.

use std::io;

use crate::redis::address::Address;
use crate::redis::error::RedisError;

/// What is wrong with a server, or with the way to it. The sentences are for the log and for readiness:
/// they hold addresses, words of the protocol, and nothing of what was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Trouble {
    #[error("the first connection is still being made")]
    Starting,
    #[error("{0}: the name does not resolve")]
    Name(Address),
    #[error("{0} cannot be reached ({1})")]
    Unreachable(Address, io::ErrorKind),
    #[error("{0} does not answer in time")]
    Late(Address),
    #[error("{0}: no TLS ({1})")]
    Tls(Address, String),
    #[error("{0}")]
    TlsFile(String),
    #[error("state.redis.{0} cannot be read ({1})")]
    PasswordFile(&'static str, io::ErrorKind),
    #[error("{0} refuses the login; see the user and the password file")]
    Login(Address),
    #[error("{0} closed the connection")]
    Lost(Address),
    #[error("{address} answers {code}{advice}", advice = advice(code))]
    Refused { address: Address, code: String },
    #[error("{0}: {1}")]
    Unfit(Address, Unfit),
    #[error("no majority of the sentinels names the master")]
    NoMaster,
    #[error("the sentinels name another master than {0}")]
    Deposed(Address),
    #[error("a part of the cluster's slots has no master")]
    NoSlot,
    #[error("no node says which master has which slot")]
    NoTopology,
    #[error("{0}: redirected too often")]
    Redirected(Address),
    #[error("{address}: {have} of {need} replicas have it")]
    TooFewReplicas { address: Address, have: u64, need: u64 },
}

/// Why a server that answers must not be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unfit {
    #[error("it is version {0}; 7.0 or later is needed")]
    Version(String),
    #[error("it evicts what has not expired ({0}); set maxmemory-policy noeviction")]
    Evicts(String),
    #[error("it is a replica, not the master")]
    Replica,
    #[error("it still loads its data")]
    Loading,
    #[error("it is a node of a cluster; write state.redis.topology = \"cluster\"")]
    IsCluster,
    #[error("it is no node of a cluster; write state.redis.topology = \"standalone\"")]
    NoCluster,
}

fn advice(code: &str) -> &'static str {
    match code {
        "NOPERM" => "; its ACL lacks a right that the user needs",
        "NOAUTH" => "; write state.redis.password_file",
        "MISCONF" => "; it cannot write to its disk",
        "READONLY" => "; it is a replica",
        "MOVED" => "; write state.redis.topology = \"cluster\"",
        _ => "",
    }
}

/// Why a call has no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// It was not sent.
    NotSent(Trouble),
    /// It was, and whether it took effect is not known.
    Sent(Trouble),
    /// The server has no memory left.
    Full,
}

impl From<Trouble> for RedisError {
    fn from(trouble: Trouble) -> Self {
        Self::Down(trouble.to_string())
    }
}

impl From<Failure> for RedisError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::NotSent(trouble) | Failure::Sent(trouble) => trouble.into(),
            Failure::Full => Self::Full,
        }
    }
}

/// The first word of an error reply, if it is one: the rest may repeat what was sent.
pub(super) fn code_of(error: &redis::RedisError) -> Option<String> {
    let code = error.code()?;
    let word = code.len() <= 20 && code.chars().all(|c| c.is_ascii_uppercase());
    Some(if word { code.to_owned() } else { "ERR".to_owned() })
}
