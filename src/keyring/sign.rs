//! Signing keys: ES256, written as JWKs, named by their thumbprint (RFC 7638).

use std::fmt;

use aws_lc_rs::agreement;
use aws_lc_rs::digest;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::clock::UnixTime;
use crate::entropy::{Entropy, draw};
use crate::keyring::error::{KeyUse, KeyringError};
use crate::keyring::file::{KeyState, PrivateJwk, SecretText, SignEntry};

/// Signs with ES256.
#[derive(Clone)]
pub struct SigningKey {
    state: KeyState,
    created: UnixTime,
    public: PublicJwk,
    encoding: EncodingKey,
}

impl SigningKey {
    /// The key as `jsonwebtoken::encode` takes it.
    pub const fn encoding_key(&self) -> &EncodingKey {
        &self.encoding
    }

    /// ES256.
    pub const fn algorithm(&self) -> Algorithm {
        Algorithm::ES256
    }

    /// Its name in the JWKS.
    pub fn kid(&self) -> &str {
        &self.public.kid
    }

    /// Where it is in its life.
    pub const fn state(&self) -> KeyState {
        self.state
    }

    /// When it was made.
    pub const fn created(&self) -> UnixTime {
        self.created
    }

    /// A JWS header that names this key.
    pub fn header(&self) -> Header {
        let mut header = Header::new(self.algorithm());
        header.kid = Some(self.public.kid.clone());
        header
    }

    /// What the world may know of it.
    pub const fn public(&self) -> &PublicJwk {
        &self.public
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey({}, {:?})", self.public.kid, self.state)
    }
}

/// A public ES256 key (RFC 7517). It has no member that could hold a private one.
#[derive(Clone, Debug, Serialize)]
pub struct PublicJwk {
    kty: &'static str,
    crv: &'static str,
    alg: &'static str,
    r#use: &'static str,
    kid: String,
    x: String,
    y: String,
}

impl TryFrom<&SignEntry> for SigningKey {
    type Error = KeyringError;

    fn try_from(entry: &SignEntry) -> Result<Self, KeyringError> {
        let jwk = &entry.jwk;
        let bad = || KeyringError::BadKey { r#use: KeyUse::Sign, kid: jwk.kid.clone() };
        let kind = (&*jwk.kty, &*jwk.crv, &*jwk.alg, &*jwk.r#use);
        if kind != ("EC", "P-256", "ES256", "sig") || jwk.kid.is_empty() {
            return Err(bad());
        }
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).map_err(|_| bad());
        let private = Zeroizing::new(decode(jwk.d.reveal())?);
        let mut point = vec![4];
        point.extend(decode(&jwk.x)?);
        point.extend(decode(&jwk.y)?);
        let pair = EcdsaKeyPair::from_private_key_and_public_key(
            &ECDSA_P256_SHA256_FIXED_SIGNING,
            &private,
            &point,
        )
        .map_err(|_| bad())?;
        let pkcs8 = pair.to_pkcs8v1().map_err(|_| KeyringError::Crypto)?;
        Ok(Self {
            state: entry.state,
            created: UnixTime::from_secs(entry.created),
            public: PublicJwk {
                kty: "EC",
                crv: "P-256",
                alg: "ES256",
                r#use: "sig",
                kid: jwk.kid.clone(),
                x: jwk.x.clone(),
                y: jwk.y.clone(),
            },
            encoding: EncodingKey::from_ec_der(pkcs8.as_ref()),
        })
    }
}

/// Draws a signing key.
///
/// # Errors
/// `NoEntropy`, `Crypto`.
pub(crate) fn draw_sign_entry(
    now: UnixTime,
    entropy: &dyn Entropy,
) -> Result<SignEntry, KeyringError> {
    // One number in 2^32 is no private key on this curve; four of them are a broken source.
    for _ in 0..4 {
        let private = Zeroizing::new(draw::<32>(entropy)?);
        let Ok(key) = agreement::PrivateKey::from_private_key(&agreement::ECDH_P256, &*private)
        else {
            continue;
        };
        let public = key.compute_public_key().map_err(|_| KeyringError::Crypto)?;
        let (x, y) = coordinates(public.as_ref()).ok_or(KeyringError::Crypto)?;
        let jwk = PrivateJwk {
            kty: "EC".to_owned(),
            crv: "P-256".to_owned(),
            alg: "ES256".to_owned(),
            r#use: "sig".to_owned(),
            kid: thumbprint(&x, &y),
            d: SecretText::new(URL_SAFE_NO_PAD.encode(*private)),
            x,
            y,
        };
        return Ok(SignEntry { state: KeyState::Current, created: now.secs(), jwk });
    }
    Err(KeyringError::Crypto)
}

/// The two halves of an uncompressed point (SEC 1, section 2.3.3), base64url.
fn coordinates(point: &[u8]) -> Option<(String, String)> {
    let (x, y) = point.strip_prefix(&[4])?.split_at_checked(32)?;
    (y.len() == 32).then(|| (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y)))
}

/// RFC 7638 section 3: SHA-256 over the required members in lexicographic order.
fn thumbprint(x: &str, y: &str) -> String {
    let canonical = format!(r#"{{"crv":"P-256","kty":"EC","x":"{x}","y":"{y}"}}"#);
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, canonical.as_bytes()))
}
