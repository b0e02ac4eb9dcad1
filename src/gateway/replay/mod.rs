//! A token is good once.
//!
//! The `jti` is spent after the limits and after the whole body was read: a caller that was told to
//! wait, or whose body broke off, has not used its token up.
//!
//! While the store is away nobody can say whether a token was used at another replica. Calls then wait
//! (503), unless their client chose to go on with what this replica knows by itself ([`Local`]).

mod settings;
mod token;
mod share;
mod local;

use std::sync::Arc;
use std::time::Duration;

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
    observed: Vec<&'static str>,
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

    /// What is not as it should be with the spending of its token, and let pass: the reasons for log and
    /// metric.
    pub fn observed(&self) -> &[&'static str] {
        &self.observed
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
    /// It was issued so shortly after memory began, and by a clock that may be so far ahead, that it
    /// may have been used before: nobody knows.
    #[error("the token may be older than what is remembered")]
    Unknown {
        /// How much later a token must be issued to be known.
        wait: Duration,
    },
    /// The store cannot say.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// No nonce could be drawn.
    #[error(transparent)]
    Entropy(#[from] NoEntropy),
}

/// Whether what is remembered reaches back to the first moment at which a token can have been used.
enum Reach {
    Whole,
    Forgotten,
    Unknown { wait: Duration },
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
            skew: verified.clock_skew(),
            until: verified.keep_until(),
        };
        let mut observed = Vec::new();
        let used = self.first_use(way, &verified, &token, &mut observed).await?;
        match (used, mode) {
            (Use::First, _) => {}
            (Use::Again(first), ReplayMode::SameRequest) if first == token.request => {
                observed.push("replayed");
            }
            (Use::Again(_), ReplayMode::Observe) => observed.push("replayed"),
            (Use::Again(_), ReplayMode::Reject | ReplayMode::SameRequest) => {
                return Err(ReplayError::Replayed);
            }
        }
        Ok(Caller { verified, observed })
    }

    async fn first_use(
        &self,
        way: &Way,
        verified: &Verified,
        token: &Token,
        observed: &mut Vec<&'static str>,
    ) -> Result<Use, ReplayError> {
        let (client, mode) = (verified.client(), verified.replay());
        match self.in_store(client, mode, token, observed).await {
            // A full store is one that cannot take the token, as one that is down: the clinician goes
            // without cards in both.
            Err(ReplayError::Store(trouble @ (StoreError::Down(_) | StoreError::Full)))
                if self.local.is_for(client) && needs_no_store(way) =>
            {
                self.alone(client, mode, token, trouble, observed).await
            }
            used => used,
        }
    }

    async fn in_store(
        &self,
        client: &ClientId,
        mode: ReplayMode,
        token: &Token,
        observed: &mut Vec<&'static str>,
    ) -> Result<Use, ReplayError> {
        match (self.reach(client, token)?, mode) {
            (Reach::Whole, _) => self.insert(client, token).await,
            (Reach::Forgotten, ReplayMode::Reject | ReplayMode::SameRequest) => {
                Err(ReplayError::Forgotten)
            }
            (Reach::Unknown { wait }, ReplayMode::Reject | ReplayMode::SameRequest) => {
                // It is only looked at: who is told to come again has not used it up.
                let known = self.store.get(token.key).await?;
                known.map(Use::Again).ok_or(ReplayError::Unknown { wait })
            }
            // Whom replay is only observed for is not refused; the token is remembered from now on.
            (Reach::Forgotten, ReplayMode::Observe) => {
                let used = self.insert(client, token).await?;
                if used == Use::First {
                    observed.push("forgotten");
                }
                Ok(used)
            }
            (Reach::Unknown { .. }, ReplayMode::Observe) => {
                let used = self.insert(client, token).await?;
                if used == Use::First {
                    observed.push("use-unknown");
                }
                Ok(used)
            }
        }
    }

    fn reach(&self, client: &ClientId, token: &Token) -> Result<Reach, StoreError> {
        let since = self.store.incarnation()?.since;
        // Whole seconds: `iat` has no finer ones, and a token of the first second is not older.
        if token.issued_at.secs() < since.secs() {
            return Ok(Reach::Forgotten);
        }
        // Where nothing tells of a former history there was none, as far as anybody knows: a first start
        // keeps nobody waiting.
        let store = self.store.has_forgotten().then(|| since.plus(token.skew));
        let known_from = store.max(self.local.vouches_from(client, token));
        Ok(match known_from {
            Some(from) if token.issued_at < from => {
                Reach::Unknown { wait: from.since(token.issued_at) }
            }
            Some(_) | None => Reach::Whole,
        })
    }

    async fn insert(&self, client: &ClientId, token: &Token) -> Result<Use, ReplayError> {
        let request = token.request.clone();
        let said = match self.store.insert(token.key, token.nonce, request, token.until).await? {
            Insert::First => Use::First,
            Insert::Held(first) => Use::Again(first),
        };
        Ok(self.local.confirm(client, token, said).await?)
    }

    /// Spends it at this replica alone.
    async fn alone(
        &self,
        client: &ClientId,
        mode: ReplayMode,
        token: &Token,
        trouble: StoreError,
        observed: &mut Vec<&'static str>,
    ) -> Result<Use, ReplayError> {
        let used = match self.local.spend(client, token, trouble).await {
            // Whom replay is only observed for is not refused because nobody can observe it.
            Err(trouble @ (StoreError::Down(_) | StoreError::Full))
                if mode == ReplayMode::Observe =>
            {
                let known = self.local.covers(client, token);
                let Some(used) = self.local.note(client, token, &trouble).await? else {
                    observed.push("token-not-recorded");
                    return Ok(Use::First);
                };
                if used == Use::First && !known {
                    observed.push("use-unknown");
                }
                used
            }
            used => used?,
        };
        observed.push("spent-locally");
        Ok(used)
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
