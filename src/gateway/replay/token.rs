//! A token that is about to be spent, and what a memory says about it.

use std::time::Duration;

use bytes::Bytes;

use crate::clock::UnixTime;
use crate::store::{Key, Nonce};

/// A token that is about to be spent.
#[derive(Clone, Debug)]
pub struct Token {
    /// Names it: issuer and `jti`.
    pub key: Key,
    /// Names this attempt to spend it.
    pub nonce: Nonce,
    /// What is kept with it: the request's fingerprint where that can matter later, or nothing.
    pub request: Bytes,
    /// Its `iat`.
    pub issued_at: UnixTime,
    /// How long before its `iat` it may have been used: by so much its client's clock may be ahead.
    pub skew: Duration,
    /// From when on it is refused as expired, and need not be remembered.
    pub until: UnixTime,
}

/// Whether a token had been used before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Use {
    /// It had not.
    First,
    /// It had, and this was kept with it.
    Again(Bytes),
}
