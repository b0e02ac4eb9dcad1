//! The gateway's own signature, for upstreams that check tokens.

use std::sync::Arc;

use crate::gateway::upstream::{Claims, Signer, Unsigned};
use crate::keyring::{LONGEST_SIGNATURE, LiveKeyring};

/// Signs with the key in use, which `/.well-known/jwks.json` publishes.
#[derive(Debug)]
pub struct GatewaySigner(Arc<LiveKeyring>);

impl GatewaySigner {
    /// A signer with the current key of `keyring`.
    pub const fn new(keyring: Arc<LiveKeyring>) -> Self {
        Self(keyring)
    }
}

impl Signer for GatewaySigner {
    fn sign(&self, claims: &Claims<'_>) -> Result<String, Unsigned> {
        // A key is retired when what it signed must have ended: nothing may live longer than that.
        if claims.exp.saturating_sub(claims.iat) > LONGEST_SIGNATURE.as_secs() {
            return Err(Unsigned("the token would outlive the key that signs it".to_owned()));
        }
        let ring = self.0.ring();
        let key = ring.signing_key();
        jsonwebtoken::encode(&key.header(), claims, key.encoding_key())
            .map_err(|error| Unsigned(error.to_string()))
    }
}
