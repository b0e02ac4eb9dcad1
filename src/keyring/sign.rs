//! Signing keys: ES256 or EdDSA, written as JWKs, named by their thumbprint (RFC 7638).

use std::fmt;
use std::str::FromStr;

use aws_lc_rs::agreement;
use aws_lc_rs::digest;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::clock::UnixTime;
use crate::entropy::{Entropy, draw};
use crate::keyring::error::{KeyUse, KeyringError};
use crate::keyring::file::{PrivateJwk, SecretText, SignEntry};
use crate::keyring::life::{Course, KeyState, LONGEST_SIGNATURE};

/// What a signing key signs with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SigningAlgorithm {
    /// ECDSA on P-256 with SHA-256 (RFC 7518 section 3.4): what every verifier knows.
    #[default]
    Es256,
    /// Ed25519 (RFC 8037 section 3.1).
    EdDsa,
}

impl SigningAlgorithm {
    /// `kty`, `crv` and `alg` of its keys.
    const fn members(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Es256 => ("EC", "P-256", "ES256"),
            Self::EdDsa => ("OKP", "Ed25519", "EdDSA"),
        }
    }

    fn of(jwk: &PrivateJwk) -> Option<Self> {
        let members = (&*jwk.kty, &*jwk.crv, &*jwk.alg);
        [Self::Es256, Self::EdDsa].into_iter().find(|algorithm| algorithm.members() == members)
    }
}

/// As RFC 7518 and RFC 8037 spell them.
impl FromStr for SigningAlgorithm {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        [Self::Es256, Self::EdDsa]
            .into_iter()
            .find(|algorithm| algorithm.members().2 == text)
            .ok_or_else(|| format!("{text:?} is none; write ES256 or EdDSA"))
    }
}

/// Signs.
#[derive(Clone)]
pub struct SigningKey {
    course: Course,
    algorithm: SigningAlgorithm,
    public: PublicJwk,
    encoding: EncodingKey,
}

impl SigningKey {
    /// The key as `jsonwebtoken::encode` takes it.
    pub const fn encoding_key(&self) -> &EncodingKey {
        &self.encoding
    }

    /// What it signs with, as key files spell it.
    pub const fn kind(&self) -> SigningAlgorithm {
        self.algorithm
    }

    /// What it signs with.
    pub const fn algorithm(&self) -> Algorithm {
        match self.algorithm {
            SigningAlgorithm::Es256 => Algorithm::ES256,
            SigningAlgorithm::EdDsa => Algorithm::EdDSA,
        }
    }

    /// Its name in the JWKS.
    pub fn kid(&self) -> &str {
        &self.public.kid
    }

    /// Where it is in its life.
    pub const fn state(&self) -> KeyState {
        self.course.state
    }

    /// When it was made.
    pub const fn created(&self) -> UnixTime {
        self.course.created
    }

    /// Its state, its times, and how long what it signs may live.
    pub const fn course(&self) -> &Course {
        &self.course
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
        write!(f, "SigningKey({}, {:?})", self.public.kid, self.course.state)
    }
}

/// A public signing key (RFC 7517). It has no member that could hold a private one.
#[derive(Clone, Debug, Serialize)]
pub struct PublicJwk {
    kty: &'static str,
    crv: &'static str,
    alg: &'static str,
    r#use: &'static str,
    kid: String,
    x: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    y: Option<String>,
}

impl PublicJwk {
    /// RFC 7638 section 3, RFC 8037 section 2: SHA-256 over the required members in lexicographic order.
    pub fn thumbprint(&self) -> String {
        thumbprint(self.crv, self.kty, &self.x, self.y.as_deref())
    }
}

impl SignEntry {
    /// Its state and times.
    pub(crate) fn course(&self) -> Course {
        Course {
            state: self.state,
            created: UnixTime::from_secs(self.created),
            current_since: self.current_since.map(UnixTime::from_secs),
            superseded: self.superseded.map(UnixTime::from_secs),
            longest_life: LONGEST_SIGNATURE,
        }
    }
}

impl TryFrom<&SignEntry> for SigningKey {
    type Error = KeyringError;

    fn try_from(entry: &SignEntry) -> Result<Self, KeyringError> {
        let jwk = &entry.jwk;
        let bad = || KeyringError::BadKey { r#use: KeyUse::Sign, kid: jwk.kid.clone() };
        let algorithm = SigningAlgorithm::of(jwk).ok_or_else(bad)?;
        if jwk.r#use != "sig" || jwk.kid.is_empty() {
            return Err(bad());
        }
        let encoding = match algorithm {
            SigningAlgorithm::Es256 => es256(jwk)?,
            SigningAlgorithm::EdDsa => eddsa(jwk)?,
        };
        let (kty, crv, alg) = algorithm.members();
        let public = PublicJwk {
            kty,
            crv,
            alg,
            r#use: "sig",
            kid: jwk.kid.clone(),
            x: jwk.x.clone(),
            y: jwk.y.clone(),
        };
        let encoding = encoding.ok_or_else(bad)?;
        Ok(Self { course: entry.course(), algorithm, public, encoding })
    }
}

/// The pair, where `d` belongs to `x` and `y`.
fn es256(jwk: &PrivateJwk) -> Result<Option<EncodingKey>, KeyringError> {
    let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).ok();
    let halves = jwk.y.as_deref().and_then(decode).zip(decode(&jwk.x));
    let private = decode(jwk.d.reveal()).map(Zeroizing::new);
    let Some(((y, x), private)) = halves.zip(private) else { return Ok(None) };
    let point = [&[4], &x[..], &y[..]].concat();
    let alg = &ECDSA_P256_SHA256_FIXED_SIGNING;
    let Ok(pair) = EcdsaKeyPair::from_private_key_and_public_key(alg, &private, &point) else {
        return Ok(None);
    };
    let pkcs8 = pair.to_pkcs8v1().map_err(|_| KeyringError::Crypto)?;
    Ok(Some(EncodingKey::from_ec_der(pkcs8.as_ref())))
}

/// The pair, where `d` belongs to `x` and there is no `y`.
fn eddsa(jwk: &PrivateJwk) -> Result<Option<EncodingKey>, KeyringError> {
    let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).ok();
    let (public, seed) = (decode(&jwk.x), decode(jwk.d.reveal()).map(Zeroizing::new));
    let Some((public, seed)) = public.zip(seed).filter(|_| jwk.y.is_none()) else {
        return Ok(None);
    };
    let Ok(pair) = Ed25519KeyPair::from_seed_and_public_key(&seed, &public) else {
        return Ok(None);
    };
    let pkcs8 = pair.to_pkcs8v1().map_err(|_| KeyringError::Crypto)?;
    Ok(Some(EncodingKey::from_ed_der(pkcs8.as_ref())))
}

/// Draws a signing key.
///
/// # Errors
/// `NoEntropy`, `Crypto`.
pub(crate) fn draw_sign_entry(
    algorithm: SigningAlgorithm,
    course: &Course,
    entropy: &dyn Entropy,
) -> Result<SignEntry, KeyringError> {
    let (private, x, y) = match algorithm {
        SigningAlgorithm::Es256 => draw_es256(entropy)?,
        SigningAlgorithm::EdDsa => draw_eddsa(entropy)?,
    };
    let (kty, crv, alg) = algorithm.members();
    let jwk = PrivateJwk {
        kty: kty.to_owned(),
        crv: crv.to_owned(),
        alg: alg.to_owned(),
        r#use: "sig".to_owned(),
        kid: thumbprint(crv, kty, &x, y.as_deref()),
        d: private,
        x,
        y,
    };
    Ok(SignEntry {
        state: course.state,
        created: course.created.secs(),
        current_since: course.current_since.map(UnixTime::secs),
        superseded: None,
        jwk,
    })
}

/// What is private, `x` and `y`, base64url.
type Drawn = (SecretText, String, Option<String>);

fn draw_es256(entropy: &dyn Entropy) -> Result<Drawn, KeyringError> {
    // One number in 2^32 is no private key on this curve; four of them are a broken source.
    for _ in 0..4 {
        let private = Zeroizing::new(draw::<32>(entropy)?);
        let Ok(key) = agreement::PrivateKey::from_private_key(&agreement::ECDH_P256, &*private)
        else {
            continue;
        };
        let public = key.compute_public_key().map_err(|_| KeyringError::Crypto)?;
        let (x, y) = coordinates(public.as_ref()).ok_or(KeyringError::Crypto)?;
        return Ok((SecretText::new(URL_SAFE_NO_PAD.encode(*private)), x, Some(y)));
    }
    Err(KeyringError::Crypto)
}

fn draw_eddsa(entropy: &dyn Entropy) -> Result<Drawn, KeyringError> {
    let seed = Zeroizing::new(draw::<32>(entropy)?);
    let pair = Ed25519KeyPair::from_seed_unchecked(&*seed).map_err(|_| KeyringError::Crypto)?;
    let x = URL_SAFE_NO_PAD.encode(pair.public_key());
    Ok((SecretText::new(URL_SAFE_NO_PAD.encode(*seed)), x, None))
}

/// The two halves of an uncompressed point (SEC 1, section 2.3.3), base64url.
fn coordinates(point: &[u8]) -> Option<(String, String)> {
    let (x, y) = point.strip_prefix(&[4])?.split_at_checked(32)?;
    (y.len() == 32).then(|| (URL_SAFE_NO_PAD.encode(x), URL_SAFE_NO_PAD.encode(y)))
}

fn thumbprint(crv: &str, kty: &str, x: &str, y: Option<&str>) -> String {
    let y = y.map_or_else(String::new, |y| format!(r#","y":"{y}""#));
    let canonical = format!(r#"{{"crv":"{crv}","kty":"{kty}","x":"{x}"{y}}}"#);
    URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, canonical.as_bytes()))
}
