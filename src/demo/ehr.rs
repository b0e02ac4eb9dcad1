//! A sample EHR: its own key, a server for the public half, and calls signed as CDS Hooks 2.0 says.

use std::io;
use std::sync::Arc;

use aws_lc_rs::signature::{ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use crate::clock::{Clock, UnixTime};
use crate::demo::server;
use crate::demo::server::Server;
use crate::entropy::Entropy;
use crate::names::RequestId;

/// The sample EHR's key id.
pub const KID: &str = "sample-key-1";

/// Why the sample EHR cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum EhrError {
    /// No key could be made.
    #[error("no key could be made")]
    Key,
    /// No port could be bound.
    #[error("no port for the key server: {0}")]
    Port(#[from] io::Error),
    /// A token could not be signed.
    #[error("a token could not be signed: {0}")]
    Sign(#[from] jsonwebtoken::errors::Error),
}

/// A private key and the public half as a JWK.
#[derive(Clone)]
pub struct SigningKey {
    private: EncodingKey,
    public: Value,
}

impl std::fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SigningKey({})", self.public)
    }
}

impl SigningKey {
    /// Makes an ES384 key.
    ///
    /// # Errors
    /// [`EhrError::Key`]
    pub fn generate(kid: &str) -> Result<Self, EhrError> {
        let pair =
            EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).map_err(|_| EhrError::Key)?;
        let pkcs8 = pair.to_pkcs8v1().map_err(|_| EhrError::Key)?;
        let point = pair.public_key().as_ref();
        // SEC 1 section 2.3.3, uncompressed: 0x04, then x and y of 48 bytes each.
        let (Some(x), Some(y)) = (point.get(1..49), point.get(49..97)) else {
            return Err(EhrError::Key);
        };
        let encode = |bytes| URL_SAFE_NO_PAD.encode(bytes);
        let public = json!({
            "kty": "EC", "crv": "P-384", "use": "sig", "alg": "ES384", "kid": kid,
            "x": encode(x), "y": encode(y),
        });
        Ok(Self { private: EncodingKey::from_ec_der(pkcs8.as_ref()), public })
    }

    /// The JWK Set with this key's public half.
    pub fn jwks(&self) -> String {
        json!({"keys": [self.public]}).to_string()
    }

    /// Signs `claims` under a header with this key's id and, where given, a `jku`.
    ///
    /// # Errors
    /// [`EhrError::Sign`]
    pub fn sign(&self, claims: &Value, jku: Option<&str>) -> Result<String, EhrError> {
        let mut header = Header::new(Algorithm::ES384);
        header.kid = self.public.get("kid").and_then(Value::as_str).map(str::to_owned);
        header.jku = jku.map(str::to_owned);
        Ok(jsonwebtoken::encode(&header, claims, &self.private)?)
    }
}

/// The running sample EHR.
#[derive(Debug)]
pub struct SampleEhr {
    key: SigningKey,
    server: Server,
}

impl SampleEhr {
    /// Makes a key and serves its public half on a free loopback port.
    ///
    /// # Errors
    /// [`EhrError`]
    pub async fn start(clock: Arc<dyn Clock>, entropy: Arc<dyn Entropy>) -> Result<Self, EhrError> {
        let key = SigningKey::generate(KID)?;
        let signer = key.clone();
        let server = Server::start(move |request| {
            let reply = serve(&request, &signer, clock.as_ref(), entropy.as_ref());
            async move { reply }
        })
        .await?;
        Ok(Self { key, server })
    }

    /// Its `iss`.
    pub fn issuer(&self) -> String {
        format!("{}/fhir", self.server.url())
    }

    /// Where its public keys are.
    pub fn jwks_url(&self) -> String {
        format!("{}/.well-known/jwks.json", self.server.url())
    }

    /// Its signing key.
    pub const fn key(&self) -> &SigningKey {
        &self.key
    }

    /// The claims of a call to `audience` at `now`.
    pub fn claims(&self, audience: &str, now: UnixTime, jti: &str) -> Value {
        claims(&self.issuer(), audience, now, jti)
    }

    /// A signed token for a call to `audience` at `now`.
    ///
    /// # Errors
    /// [`EhrError::Sign`]
    pub fn token(&self, audience: &str, now: UnixTime, jti: &str) -> Result<String, EhrError> {
        self.key.sign(&self.claims(audience, now, jti), Some(&self.jwks_url()))
    }
}

/// The claims of a call (CDS Hooks 2.0, JSON Web Token), valid for five minutes.
fn claims(issuer: &str, audience: &str, now: UnixTime, jti: &str) -> Value {
    json!({
        "iss": issuer, "aud": audience, "jti": jti,
        "iat": now.secs(), "exp": now.secs().saturating_add(300),
    })
}

/// The public keys, and `/token?aud=…`, where somebody who tries things out gets a fresh token.
fn serve(
    request: &Request<Bytes>,
    key: &SigningKey,
    clock: &dyn Clock,
    entropy: &dyn Entropy,
) -> Response<Full<Bytes>> {
    if request.uri().path() != "/token" {
        return server::json(200, key.jwks());
    }
    let query = request.uri().query().unwrap_or_default();
    let audience = url::form_urlencoded::parse(query.as_bytes()).find(|(name, _)| name == "aud");
    let host = request.headers().get(http::header::HOST).and_then(|host| host.to_str().ok());
    let (Some((_, audience)), Some(host)) = (audience, host) else {
        return server::answer(
            400,
            "text/plain",
            "ask for /token?aud=<URL to be called>".to_owned(),
        );
    };
    let now = clock.now();
    let token = RequestId::new(now, entropy).ok().and_then(|jti| {
        let claims = claims(&format!("http://{host}/fhir"), &audience, now, &jti.to_string());
        key.sign(&claims, None).ok()
    });
    token.map_or_else(
        || server::answer(500, "text/plain", "no token could be signed".to_owned()),
        |token| server::answer(200, "text/plain", token),
    )
}

/// The body of a `patient-view` call about a sample patient.
pub fn patient_view(hook_instance: &str) -> String {
    json!({
        "hook": "patient-view",
        "hookInstance": hook_instance,
        "context": {"userId": "Practitioner/example", "patientId": "1288992"},
        "prefetch": {"patient": {
            "resourceType": "Patient", "id": "1288992",
            "name": [{"use": "official", "family": "Adams", "given": ["Daniel"]}],
        }},
    })
    .to_string()
}
