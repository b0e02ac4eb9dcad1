//! One public key of a client, checked when it is read, so that what is held can verify.

use std::sync::Arc;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ParsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;
use jsonwebtoken::jwk::{
    AlgorithmParameters, CommonParameters, EllipticCurve, EllipticCurveKeyParameters, Jwk,
    OctetKeyPairParameters, OctetKeyPairType, RSAKeyParameters, ThumbprintHash,
};
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use crate::gateway::auth::algorithm::Algorithm;
use crate::gateway::auth::public_keys::is_published;

/// A key that can verify signatures under the algorithms it names, and no others.
#[derive(Clone, Debug)]
pub(super) struct VerifyingKey {
    kid: Arc<str>,
    algorithms: Vec<Algorithm>,
    thumbprint: String,
    key: DecodingKey,
}

/// Why a key of a set is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, thiserror::Error)]
pub(super) enum KeyFault {
    /// It is not a JWK: a member is missing, repeated or of another type.
    #[error("it is not a JWK")]
    Malformed,
    /// It has no `kid`, so that no token can name it.
    #[error("it has no kid of 1 to 256 characters")]
    NoKid,
    /// It is a symmetric key (`kty` is `oct`).
    #[error("it is a symmetric key")]
    Symmetric,
    /// It has its private half in it: whoever reads the set can sign.
    #[error("its private half is published with it")]
    Private,
    /// Its private half is published elsewhere.
    #[error("its private half is public knowledge")]
    PublicTestKey,
    /// `kty` or `crv` is not one that is supported.
    #[error("its type or curve is not supported")]
    Type,
    /// `use` is not `sig`, or `key_ops` has no `verify`.
    #[error("it is not for signatures")]
    Use,
    /// `alg` is not one that its type can do.
    #[error("its alg does not fit its type")]
    Algorithm,
    /// An RSA modulus of less than 2048 or more than 8192 bits, or a senseless exponent.
    #[error("its size is not acceptable")]
    Size,
    /// Its point is not on its curve, or of the wrong length.
    #[error("its point is not on its curve")]
    Point,
    /// Another key of the set has the same `kid`.
    #[error("another key has the same kid")]
    Ambiguous,
}

impl KeyFault {
    /// A stable word for log and metrics.
    pub(super) const fn code(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::NoKid => "no-kid",
            Self::Symmetric => "symmetric",
            Self::Private => "private",
            Self::PublicTestKey => "public-test-key",
            Self::Type => "type",
            Self::Use => "use",
            Self::Algorithm => "alg",
            Self::Size => "size",
            Self::Point => "point",
            Self::Ambiguous => "ambiguous",
        }
    }
}

/// A key that is not used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RefusedKey {
    /// Its `kid`, where it has one.
    pub(super) kid: Option<String>,
    /// Why.
    pub(super) fault: KeyFault,
}

impl VerifyingKey {
    /// Reads one element of a set's `keys`.
    ///
    /// # Errors
    /// [`RefusedKey`]
    pub(super) fn parse(json: &RawValue, allow_public_test_keys: bool) -> Result<Self, RefusedKey> {
        let Ok(members) = serde_json::from_str::<JwkMembers>(json.get()) else {
            return Err(RefusedKey { kid: None, fault: KeyFault::Malformed });
        };
        let kid = members.kid.clone();
        Self::from_members(members, allow_public_test_keys)
            .map_err(|fault| RefusedKey { kid, fault })
    }

    fn from_members(members: JwkMembers, allow_public_test_keys: bool) -> Result<Self, KeyFault> {
        members.check_purpose()?;
        let (parameters, possible) = members.parameters()?;
        let algorithms = match members.alg.as_deref() {
            None => possible.to_vec(),
            Some(name) => match Algorithm::from_name(name) {
                Some(named) if possible.contains(&named) => vec![named],
                Some(_) | None => return Err(KeyFault::Algorithm),
            },
        };
        let kid = members.kid.filter(|kid| (1..=256).contains(&kid.chars().count()));
        let kid = kid.ok_or(KeyFault::NoKid)?;
        let jwk = Jwk { common: CommonParameters::default(), algorithm: parameters };
        let thumbprint = jwk.thumbprint(ThumbprintHash::SHA256).map_err(|_| KeyFault::Type)?;
        if !allow_public_test_keys && is_published(&thumbprint) {
            return Err(KeyFault::PublicTestKey);
        }
        let key = DecodingKey::from_jwk(&jwk).map_err(|_| KeyFault::Malformed)?;
        Ok(Self { kid: Arc::from(kid), algorithms, thumbprint, key })
    }

    /// Its name in its set.
    pub(super) const fn kid(&self) -> &Arc<str> {
        &self.kid
    }

    /// Whether it is a key for `algorithm`.
    pub(super) fn is_for(&self, algorithm: Algorithm) -> bool {
        self.algorithms.contains(&algorithm)
    }

    /// Whether `other` is the same key for the same purpose, so that it does not matter which is
    /// meant.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.thumbprint == other.thumbprint && self.algorithms == other.algorithms
    }

    /// Whether `signature` is this key's over `message`. False for an algorithm that it is not for.
    pub(super) fn verifies(
        &self,
        algorithm: Algorithm,
        message: &[u8],
        signature: &Vec<u8>,
    ) -> bool {
        // The provider is named, not looked up: the library's process-wide choice can panic.
        self.is_for(algorithm)
            && (DEFAULT_PROVIDER.verifier_factory)(&algorithm.jose(), &self.key)
                .is_ok_and(|verifier| verifier.verify(message, signature).is_ok())
    }
}

/// A JWK's members as RFC 7517 section 4 and RFC 7518 section 6 name them. Unknown ones are ignored.
#[derive(Deserialize)]
struct JwkMembers {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    r#use: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    x: Option<String>,
    y: Option<String>,
    n: Option<String>,
    e: Option<String>,
    d: Option<IgnoredAny>,
    p: Option<IgnoredAny>,
    q: Option<IgnoredAny>,
    dp: Option<IgnoredAny>,
    dq: Option<IgnoredAny>,
    qi: Option<IgnoredAny>,
    oth: Option<IgnoredAny>,
}

impl JwkMembers {
    fn check_purpose(&self) -> Result<(), KeyFault> {
        if self.kty == "oct" {
            return Err(KeyFault::Symmetric);
        }
        let private = [&self.d, &self.p, &self.q, &self.dp, &self.dq, &self.qi, &self.oth];
        if private.iter().any(|member| member.is_some()) {
            return Err(KeyFault::Private);
        }
        if self.r#use.as_deref().is_some_and(|purpose| purpose != "sig") {
            return Err(KeyFault::Use);
        }
        let verifies = |operations: &Vec<String>| operations.iter().any(|o| o == "verify");
        if self.key_ops.as_ref().is_some_and(|operations| !verifies(operations)) {
            return Err(KeyFault::Use);
        }
        Ok(())
    }

    /// The key itself, in its one canonical spelling, and what a key of its type can do.
    fn parameters(&self) -> Result<(AlgorithmParameters, &'static [Algorithm]), KeyFault> {
        match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => Ok((self.rsa()?, &Algorithm::RSA)),
            ("EC", Some("P-256")) => {
                Ok((self.point(EllipticCurve::P256, 32)?, &[Algorithm::ES256]))
            }
            ("EC", Some("P-384")) => {
                Ok((self.point(EllipticCurve::P384, 48)?, &[Algorithm::ES384]))
            }
            ("OKP", Some("Ed25519")) => Ok((self.edwards()?, &[Algorithm::EdDSA])),
            _ => Err(KeyFault::Type),
        }
    }

    fn rsa(&self) -> Result<AlgorithmParameters, KeyFault> {
        // Some publishers write the modulus with its ASN.1 sign byte in front.
        let (n, e) = (bytes(self.n.as_deref())?, bytes(self.e.as_deref())?);
        let (n, e) = (without_leading_zeros(&n), without_leading_zeros(&e));
        let first = n.first().ok_or(KeyFault::Size)?;
        let bits = (n.len() * 8).saturating_sub(first.leading_zeros() as usize);
        let odd_exponent = e.last().is_some_and(|last| last & 1 == 1) && e != [1];
        if !(2048..=8192).contains(&bits) || e.len() > 4 || !odd_exponent {
            return Err(KeyFault::Size);
        }
        Ok(AlgorithmParameters::RSA(RSAKeyParameters {
            n: URL_SAFE_NO_PAD.encode(n),
            e: URL_SAFE_NO_PAD.encode(e),
            ..RSAKeyParameters::default()
        }))
    }

    /// RFC 7518 section 6.2.1.2: each coordinate has the full length of the field.
    fn point(&self, curve: EllipticCurve, length: usize) -> Result<AlgorithmParameters, KeyFault> {
        let (x, y) = (bytes(self.x.as_deref())?, bytes(self.y.as_deref())?);
        if x.len() != length || y.len() != length {
            return Err(KeyFault::Point);
        }
        let scheme = if length == 32 { &ECDSA_P256_SHA256_FIXED } else { &ECDSA_P384_SHA384_FIXED };
        let uncompressed = [[4].as_slice(), &x, &y].concat();
        ParsedPublicKey::new(scheme, uncompressed).map_err(|_| KeyFault::Point)?;
        Ok(AlgorithmParameters::EllipticCurve(EllipticCurveKeyParameters {
            curve,
            x: URL_SAFE_NO_PAD.encode(x),
            y: URL_SAFE_NO_PAD.encode(y),
            ..EllipticCurveKeyParameters::default()
        }))
    }

    fn edwards(&self) -> Result<AlgorithmParameters, KeyFault> {
        let x = bytes(self.x.as_deref())?;
        if x.len() != 32 {
            return Err(KeyFault::Point);
        }
        Ok(AlgorithmParameters::OctetKeyPair(OctetKeyPairParameters {
            key_type: OctetKeyPairType::OctetKeyPair,
            curve: EllipticCurve::Ed25519,
            x: URL_SAFE_NO_PAD.encode(x),
        }))
    }
}

fn bytes(text: Option<&str>) -> Result<Vec<u8>, KeyFault> {
    let text = text.ok_or(KeyFault::Malformed)?;
    URL_SAFE_NO_PAD.decode(text).map_err(|_| KeyFault::Malformed)
}

fn without_leading_zeros(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|b| **b == 0).count();
    bytes.get(zeros..).unwrap_or_default()
}
