//! What every backend promises. One test suite holds all of them to it.

use std::fmt;

use async_trait::async_trait;
use aws_lc_rs::digest;
use bytes::Bytes;

use crate::clock::UnixTime;
use crate::redis::RedisError;

/// What a key is about. Two namespaces never meet, whatever their parts say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Namespace {
    /// A JWT's `jti`, spent by its first use.
    Jti,
    /// A link's id, spent by its first opening.
    Link,
    /// A link's target that is too long for its token.
    Target,
    /// The ids that one answer gave to its cards and suggestions.
    CardIds,
    /// A feedback entry or analytics call, settled once the upstream took it.
    Delivery,
}

impl Namespace {
    const fn tag(self) -> u8 {
        match self {
            Self::Jti => 1,
            Self::Link => 2,
            Self::Target => 3,
            Self::CardIds => 4,
            Self::Delivery => 5,
        }
    }
}

/// A digest under a namespace: the store never sees the secret or the patient datum itself.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key([u8; 32]);

impl Key {
    /// The key for `parts`. Parts are length-prefixed: `["ab", "c"]` is not `["a", "bc"]`.
    pub fn new(namespace: Namespace, parts: &[&[u8]]) -> Self {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(&[namespace.tag()]);
        for part in parts {
            context.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
            context.update(part);
        }
        let mut key = [0; 32];
        for (to, from) in key.iter_mut().zip(context.finish().as_ref()) {
            *to = *from;
        }
        Self(key)
    }

    /// The digest's bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "Key({a:02x}{b:02x}{c:02x}{d:02x}..)")
    }
}

/// Names one attempt, drawn afresh for each. Whoever has lost a reply asks again with the same nonce
/// and so tells its own success from a lost race: an attempt that won is told so again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Nonce(pub [u8; 16]);

/// What [`Store::insert`] found.
#[must_use]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Insert {
    /// The key was free and is now this attempt's. Exactly one attempt is ever told so.
    First,
    /// Somebody was first, with this value.
    Held(Bytes),
}

/// What [`Store::claim`] found.
#[must_use]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claim {
    /// The work is the caller's until its lease ends, or it settles or releases.
    Mine,
    /// Somebody else is at it.
    Busy,
    /// It has been done, with this result.
    Settled(Bytes),
}

/// Names the history that a store remembers. A store that was emptied, or replaced by an old copy of
/// itself, has another one; what was promised under the former cannot be kept and must be refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Incarnation {
    /// Drawn at random when the history began.
    pub mark: [u8; 8],
    /// When it began: nothing issued before can have been remembered.
    pub since: UnixTime,
}

/// How full a store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fill {
    /// Entries and claims held, expired ones that are not yet swept included.
    pub entries: u64,
    /// Entries it takes before it refuses.
    pub capacity: u64,
    /// The memory of what holds the entries, where that is elsewhere and has a limit of its own.
    pub memory: Option<Memory>,
}

/// How much of a memory is used, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// What is in use.
    pub used: u64,
    /// What can be used before the store refuses.
    pub limit: u64,
}

/// Why a store could not keep its promise. It then answers this, never a guess.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// No room: nothing that has not expired is ever evicted.
    #[error("the store is full")]
    Full,
    /// The backend does not answer, or its disk failed.
    #[error("the store does not answer: {0}")]
    Down(String),
    /// A lease ended before its work was settled: somebody else may have it now.
    #[error("the lease has ended")]
    LeaseLost,
    /// The entry's `until` had come before it could be kept. Whoever checked the time earlier and was
    /// overtaken by it must not be first: the winner before may already be forgotten.
    #[error("the time for it has passed")]
    Late,
}

impl From<RedisError> for StoreError {
    fn from(error: RedisError) -> Self {
        match error {
            RedisError::Down(why) => Self::Down(why),
            RedisError::Full => Self::Full,
        }
    }
}

/// State that must be the same for everybody: who was first, what was recorded, what is done.
///
/// Every method is one atomic step. A success of `insert` or `settle` is durable, as the backend
/// defines it, before it is answered. An entry is never dropped before its `until`; from then on it is
/// as if it had never been. A key is used with `insert` alone or with `claim` and `settle` alone.
///
/// A future that is dropped, or answered with an error, leaves open whether its step was taken; the
/// same nonce finds out.
#[async_trait]
pub trait Store: Send + Sync + fmt::Debug + 'static {
    /// Takes `key` if it is free. Of all attempts for one key until `until`, on all replicas and over
    /// all restarts, exactly one sees [`Insert::First`]; it sees it again when it asks again.
    ///
    /// # Errors
    /// [`StoreError::Late`] where `until` is not in the future, [`StoreError::Full`], and
    /// [`StoreError::Down`]: the key may then have been taken by this attempt or not.
    async fn insert(
        &self,
        key: Key,
        nonce: Nonce,
        value: Bytes,
        until: UnixTime,
    ) -> Result<Insert, StoreError>;

    /// The value that was inserted or settled under `key`.
    ///
    /// # Errors
    /// [`StoreError::Down`]
    async fn get(&self, key: Key) -> Result<Option<Bytes>, StoreError>;

    /// Begins work that must be done once. A claim need not survive a crash: then nobody has it.
    /// Asked again with the nonce that has it, it is still [`Claim::Mine`], now until `lease_until`.
    ///
    /// # Errors
    /// [`StoreError::Late`] where `lease_until` is not in the future, [`StoreError::Full`] and
    /// [`StoreError::Down`].
    async fn claim(
        &self,
        key: Key,
        nonce: Nonce,
        lease_until: UnixTime,
    ) -> Result<Claim, StoreError>;

    /// Ends claimed work as done: from now until `until` every claim is answered with `value`. Asked
    /// again with the nonce that settled, it is done already. The claim has kept the room: a settle
    /// is never refused because the store is full.
    ///
    /// # Errors
    /// [`StoreError::LeaseLost`] where the claim is no longer this nonce's, and [`StoreError::Down`].
    async fn settle(
        &self,
        key: Key,
        nonce: Nonce,
        value: Bytes,
        until: UnixTime,
    ) -> Result<(), StoreError>;

    /// Gives claimed work back undone. A claim that is no longer this nonce's is left alone.
    ///
    /// # Errors
    /// [`StoreError::Down`]
    async fn release(&self, key: Key, nonce: Nonce) -> Result<(), StoreError>;

    /// Which history this store remembers, as far as is known without asking: whoever relies on it
    /// asks the store next, which refuses what belongs to another one.
    ///
    /// # Errors
    /// [`StoreError::Down`] where the backend has not been reached yet.
    fn incarnation(&self) -> Result<Incarnation, StoreError>;

    /// Whether that history is known to follow a forgotten one. What bears a time of issue from shortly
    /// after its beginning may then have been used before it, by somebody whose clock is ahead. A store
    /// that has just been made follows none; nor does one in which nothing tells of another.
    fn has_forgotten(&self) -> bool;

    /// How full it is.
    fn fill(&self) -> Fill;

    /// Whether it would keep a promise now.
    ///
    /// # Errors
    /// [`StoreError`] says why not.
    async fn ready(&self) -> Result<(), StoreError>;
}

/// A look into a store that takes no step in it: for a process beside those that serve.
#[async_trait]
pub trait View: Send + Sync + fmt::Debug + 'static {
    /// Which history the store remembers; nothing where it has none yet.
    ///
    /// # Errors
    /// [`StoreError::Down`]
    async fn history(&self) -> Result<Option<Incarnation>, StoreError>;

    /// The value that was inserted or settled under `key` and has not ended.
    ///
    /// # Errors
    /// [`StoreError::Down`]
    async fn get(&self, key: Key) -> Result<Option<Bytes>, StoreError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_keep_parts_and_namespaces_apart() {
        let key = Key::new(Namespace::Jti, &[b"ab", b"c"]);
        assert_eq!(key, Key::new(Namespace::Jti, &[b"ab", b"c"]));
        assert_ne!(key, Key::new(Namespace::Jti, &[b"a", b"bc"]));
        assert_ne!(key, Key::new(Namespace::Link, &[b"ab", b"c"]));
    }
}
