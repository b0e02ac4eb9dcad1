//! The gateway's own signature, for upstreams that check tokens.

use std::sync::Arc;

use crate::gateway::upstream::{Claims, Signer, Unsigned};
use crate::keyring::Keyring;

/// Signs with the key that `/.well-known/jwks.json` publishes.
#[derive(Debug)]
pub struct GatewaySigner(Arc<Keyring>);

impl GatewaySigner {
    /// A signer with the current key of `keyring`.
    pub const fn new(keyring: Arc<Keyring>) -> Self {
        Self(keyring)
    }
}

impl Signer for GatewaySigner {
    fn sign(&self, claims: &Claims<'_>) -> Result<String, Unsigned> {
        let key = self.0.signing_key();
        jsonwebtoken::encode(&key.header(), claims, key.encoding_key())
            .map_err(|error| Unsigned(error.to_string()))
    }
}
