//! A token is good once.
//!
//! The `jti` is spent after the limits and after the whole body was read: a caller that was told to
//! wait, or whose body broke off, has not used its token up.

use std::sync::Arc;

use aws_lc_rs::digest;
use bytes::Bytes;
use http::Method;

use crate::body::Held;
use crate::entropy::{Entropy, NoEntropy, draw};
use crate::gateway::auth::{ReplayMode, Verified};
use crate::gateway::limit::Admitted;
use crate::names::{ClientId, Tenant};
use crate::store::{Insert, Key, Namespace, Nonce, Store, StoreError};

/// Who is calling: a verified token, within its limits, spent by this very request.
#[derive(Debug)]
pub struct Caller {
    verified: Verified,
    repeated: bool,
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
    entropy: Arc<dyn Entropy>,
}

impl Replay {
    /// A step that remembers in `store`.
    pub fn new(store: Arc<dyn Store>, entropy: Arc<dyn Entropy>) -> Self {
        Self { store, entropy }
    }

    /// Spends the token of an admitted request.
    ///
    /// # Errors
    /// [`ReplayError`]
    pub async fn spend(
        &self,
        admitted: Admitted,
        method: &Method,
        url: &str,
        body: &Held,
    ) -> Result<Caller, ReplayError> {
        let verified = admitted.into_verified();
        let mode = verified.replay();
        // Whole seconds: `iat` has no finer ones, and a token of the first second is not older.
        if verified.issued_at().secs() < self.store.incarnation()?.since.secs() {
            return match mode {
                ReplayMode::Observe => Ok(Caller { verified, repeated: false }),
                ReplayMode::Reject | ReplayMode::SameRequest => Err(ReplayError::Forgotten),
            };
        }
        let key =
            Key::new(Namespace::Jti, &[verified.issuer().as_bytes(), verified.jti().as_bytes()]);
        let request = match mode {
            ReplayMode::Reject | ReplayMode::Observe => Bytes::new(),
            ReplayMode::SameRequest => fingerprint(method, url, body),
        };
        let nonce = Nonce(draw(self.entropy.as_ref())?);
        let until = verified.keep_until();
        match (self.store.insert(key, nonce, request.clone(), until).await?, mode) {
            (Insert::First, _) => Ok(Caller { verified, repeated: false }),
            (Insert::Held(first), ReplayMode::SameRequest) if first == request => {
                Ok(Caller { verified, repeated: true })
            }
            (Insert::Held(_), ReplayMode::Observe) => Ok(Caller { verified, repeated: true }),
            (Insert::Held(_), ReplayMode::Reject | ReplayMode::SameRequest) => {
                Err(ReplayError::Replayed)
            }
        }
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
