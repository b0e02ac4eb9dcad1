//! A token is good once.
//!
//! The `jti` is spent after the limits and after the whole body was read: a caller that was told to
//! wait, or whose body broke off, has not used its token up.
//!
//! While the store is away nobody can say whether a token was used at another replica. Calls then wait
//! (503), unless their client chose to go on with what this replica knows by itself ([`Local`]).

mod settings;
mod token;
mod local;

use std::sync::Arc;

use aws_lc_rs::digest;
use bytes::Bytes;
use http::Method;

use crate::body::Held;
use crate::entropy::{Entropy, NoEntropy, draw};
use crate::gateway::auth::{ReplayMode, Verified};
use crate::gateway::limit::Admitted;
use crate::gateway::replay::token::{Token, Use};
use crate::gateway::route::Way;
use crate::names::{ClientId, Tenant};
use crate::store::{Insert, Key, Namespace, Nonce, Store, StoreError};

pub use crate::gateway::replay::local::{CAPACITY, Local, Metrics};
pub use crate::gateway::replay::settings::{ClientSettings, WhenStoreDown};

/// Who is calling: a verified token, within its limits, spent by this very request.
#[derive(Debug)]
pub struct Caller {
    verified: Verified,
    repeated: bool,
    kept: Kept,
}

/// Who knows that a token was used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kept {
    Everywhere,
    Here,
}

impl Caller {
    /// The client.
    pub const fn client(&self) -> &ClientId {
        self.verified.client()
    }

    /// The token's issuer.
    pub fn issuer(&self) -> &str {
        self.verified.issuer()
    }

    /// The token's tenant.
    pub const fn tenant(&self) -> Option<&Tenant> {
        self.verified.tenant()
    }

    /// Whether the token had been used before, and the client's mode lets that pass.
    pub const fn is_repeated(&self) -> bool {
        self.repeated
    }

    /// Whether nobody but this replica knows that the token was used, because the store is away.
    pub fn is_known_here_alone(&self) -> bool {
        self.kept == Kept::Here
    }
}

/// Why a good token does not count.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// It was used before.
    #[error("the token was used before")]
    Replayed,
    /// It was issued before the store began to remember: nobody knows whether it was used.
    #[error("the token is older than the store's memory")]
    Forgotten,
    /// The store cannot say.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No nonce could be drawn.
    #[error(transparent)]
    Entropy(#[from] NoEntropy),
}

/// Spends tokens.
#[derive(Debug)]
pub struct Replay {
    store: Arc<dyn Store>,
    local: Arc<Local>,
    entropy: Arc<dyn Entropy>,
}

impl Replay {
    /// A step that remembers in `store`, and where a client wants it in `local`.
    pub fn new(store: Arc<dyn Store>, local: Arc<Local>, entropy: Arc<dyn Entropy>) -> Self {
        Self { store, local, entropy }
    }

    /// Spends the token of an admitted request.
    ///
    /// # Errors
    /// [`ReplayError`]
    pub async fn spend(
        &self,
        way: &Way,
        admitted: Admitted,
        (method, url): (&Method, &str),
        body: &Held,
    ) -> Result<Caller, ReplayError> {
        let verified = admitted.into_verified();
        let mode = verified.replay();
        let token = Token {
            key: Key::new(
                Namespace::Jti,
                &[verified.issuer().as_bytes(), verified.jti().as_bytes()],
            ),
            nonce: Nonce(draw(self.entropy.as_ref())?),
            request: match mode {
                ReplayMode::Reject | ReplayMode::Observe => Bytes::new(),
                ReplayMode::SameRequest => fingerprint(method, url, body),
            },
            issued_at: verified.issued_at(),
            until: verified.keep_until(),
        };
        let (used, kept) = match self.first_use(way, &verified, &token).await {
            Err(ReplayError::Forgotten) if mode == ReplayMode::Observe => {
                (Use::First, Kept::Everywhere)
            }
            other => other?,
        };
        let repeated = match (used, mode) {
            (Use::First, _) => false,
            (Use::Again(first), ReplayMode::SameRequest) if first == token.request => true,
            (Use::Again(_), ReplayMode::Observe) => true,
            (Use::Again(_), ReplayMode::Reject | ReplayMode::SameRequest) => {
                return Err(ReplayError::Replayed);
            }
        };
        Ok(Caller { verified, repeated, kept })
    }

    async fn first_use(
        &self,
        way: &Way,
        verified: &Verified,
        token: &Token,
    ) -> Result<(Use, Kept), ReplayError> {
        let local = self.local.is_for(verified.client());
        match self.in_store(token).await {
            Ok(said) if local => Ok((self.local.confirm(token, said).await?, Kept::Everywhere)),
            Ok(said) => Ok((said, Kept::Everywhere)),
            // A full store is one that cannot take the token, as one that is down: the clinician goes
            // without cards in both.
            Err(ReplayError::Store(trouble @ (StoreError::Down(_) | StoreError::Full)))
                if local && needs_no_store(way) =>
            {
                match self.local.spend(token, trouble).await {
                    // Whom replay is only observed for is not refused because nobody can observe it.
                    Err(StoreError::Down(_) | StoreError::Full)
                        if verified.replay() == ReplayMode::Observe =>
                    {
                        Ok((Use::First, Kept::Here))
                    }
                    used => Ok((used?, Kept::Here)),
                }
            }
            Err(error) => Err(error),
        }
    }

    async fn in_store(&self, token: &Token) -> Result<Use, ReplayError> {
        // Whole seconds: `iat` has no finer ones, and a token of the first second is not older.
        if token.issued_at.secs() < self.store.incarnation()?.since.secs() {
            return Err(ReplayError::Forgotten);
        }
        let request = token.request.clone();
        Ok(match self.store.insert(token.key, token.nonce, request, token.until).await? {
            Insert::First => Use::First,
            Insert::Held(first) => Use::Again(first),
        })
    }
}

/// Whether a call of this way can be answered without the store. What came back of a card cannot: what
/// its ids stand for is in the store, and so is whether it was delivered.
const fn needs_no_store(way: &Way) -> bool {
    match way {
        Way::Hook(_) | Way::Discovery => true,
        Way::Feedback(_) | Way::Analytics(..) | Way::Open(_) | Way::Jwks => false,
    }
}

/// What makes a repeated request the same one: method, URL and every byte of the body.
fn fingerprint(method: &Method, url: &str, body: &Held) -> Bytes {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in [method.as_str().as_bytes(), url.as_bytes()] {
        context.update(part);
        context.update(&[0]);
    }
    context.update(body.bytes());
    Bytes::copy_from_slice(context.finish().as_ref())
}
