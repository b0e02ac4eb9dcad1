//! Keys made for the test, and tokens signed with them.

use std::sync::LazyLock;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING,
    ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair,
    RSA_PKCS1_SHA256, RSA_PKCS1_SHA384, RSA_PKCS1_SHA512, RSA_PSS_SHA256, RSA_PSS_SHA384,
    RSA_PSS_SHA512, RsaEncoding, RsaKeyPair, RsaPublicKeyComponents,
};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

pub(crate) const ALGORITHMS: [&str; 9] =
    ["ES256", "ES384", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "EdDSA"];

/// One key of each type; making an RSA key is slow.
pub(crate) struct Keys {
    p256: EcdsaKeyPair,
    p384: EcdsaKeyPair,
    p384_der: EcdsaKeyPair,
    rsa: RsaKeyPair,
    ed: Ed25519KeyPair,
}

pub(crate) static OURS: LazyLock<Keys> = LazyLock::new(Keys::generate);
pub(crate) static THEIRS: LazyLock<Keys> = LazyLock::new(Keys::generate);

pub(crate) fn b64(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

impl Keys {
    fn generate() -> Self {
        let ec = |scheme: &'static EcdsaSigningAlgorithm| EcdsaKeyPair::generate(scheme).unwrap();
        let p384 = ec(&ECDSA_P384_SHA384_FIXED_SIGNING);
        let document = p384.to_pkcs8v1().unwrap();
        Self {
            p256: ec(&ECDSA_P256_SHA256_FIXED_SIGNING),
            p384_der: EcdsaKeyPair::from_pkcs8(&ECDSA_P384_SHA384_ASN1_SIGNING, document.as_ref())
                .unwrap(),
            p384,
            rsa: RsaKeyPair::generate(KeySize::Rsa2048).unwrap(),
            ed: Ed25519KeyPair::generate().unwrap(),
        }
    }

    /// The public key for `alg`, under `kid`, for exactly that algorithm.
    pub(crate) fn jwk(&self, alg: &str, kid: &str) -> Value {
        let mut jwk = match alg {
            "ES256" => point("P-256", self.p256.public_key().as_ref()),
            "ES384" => point("P-384", self.p384.public_key().as_ref()),
            "EdDSA" => {
                json!({"kty": "OKP", "crv": "Ed25519", "x": b64(self.ed.public_key())})
            }
            _ => {
                let parts = RsaPublicKeyComponents::<Vec<u8>>::from(self.rsa.public_key());
                json!({"kty": "RSA", "n": b64(parts.n), "e": b64(parts.e)})
            }
        };
        jwk["kid"] = kid.into();
        jwk["alg"] = alg.into();
        jwk["use"] = "sig".into();
        jwk
    }

    /// A set with one key per algorithm, each named as its algorithm.
    pub(crate) fn set(&self) -> Value {
        json!({"keys": ALGORITHMS.map(|alg| self.jwk(alg, alg))})
    }

    pub(crate) fn sign(&self, alg: &str, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        let rsa = |scheme: &'static dyn RsaEncoding| {
            let mut signature = vec![0; self.rsa.public_modulus_len()];
            self.rsa.sign(scheme, &random, message, &mut signature).unwrap();
            signature
        };
        match alg {
            "ES256" => self.p256.sign(&random, message).unwrap().as_ref().to_vec(),
            "ES384" => self.p384.sign(&random, message).unwrap().as_ref().to_vec(),
            "ES384-der" => self.p384_der.sign(&random, message).unwrap().as_ref().to_vec(),
            "EdDSA" => self.ed.sign(message).as_ref().to_vec(),
            "RS256" => rsa(&RSA_PKCS1_SHA256),
            "RS384" => rsa(&RSA_PKCS1_SHA384),
            "RS512" => rsa(&RSA_PKCS1_SHA512),
            "PS256" => rsa(&RSA_PSS_SHA256),
            "PS384" => rsa(&RSA_PSS_SHA384),
            "PS512" => rsa(&RSA_PSS_SHA512),
            other => panic!("no key for {other}"),
        }
    }

    /// A compact JWS of exactly these texts, signed as `alg` says whatever the header says.
    pub(crate) fn token(&self, alg: &str, header: &str, payload: &str) -> String {
        let message = format!("{}.{}", b64(header), b64(payload));
        let signature = self.sign(alg, message.as_bytes());
        format!("{message}.{}", b64(signature))
    }
}

fn point(curve: &str, uncompressed: &[u8]) -> Value {
    let (x, y) = uncompressed[1..].split_at((uncompressed.len() - 1) / 2);
    json!({"kty": "EC", "crv": curve, "x": b64(x), "y": b64(y)})
}
