//! `GET /.well-known/jwks.json`: the public halves of the gateway's signing keys (RFC 7517 section 5).

use std::sync::Arc;

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use headers::{ETag, HeaderMapExt, IfNoneMatch};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderValue, Method, StatusCode};
use http_body_util::Full;

use crate::gateway::reply::Reply;
use crate::keyring::LiveKeyring;

/// The way of the key set. It has the keys of all states: the next one before it signs, so that no
/// verifier meets a signature whose key it cannot have, and earlier ones as long as their tokens live.
#[derive(Debug)]
pub struct JwksPath {
    keyring: Arc<LiveKeyring>,
}

impl JwksPath {
    /// Publishes what `keyring` has.
    pub const fn new(keyring: Arc<LiveKeyring>) -> Self {
        Self { keyring }
    }

    /// The set, or 304 where the caller has it already.
    pub fn run(&self, parts: &Parts) -> Reply {
        let set = self.keyring.ring().public_jwks();
        let tag = entity_tag(&set);
        let known = parts.headers.typed_get::<IfNoneMatch>();
        let fresh = tag.as_ref().zip(known).is_some_and(|(tag, known)| {
            // A HEAD is answered with the length of what a GET would bring, which a 304 has not.
            parts.method == Method::GET && !known.precondition_passes(tag)
        });
        let mut reply =
            if fresh { Reply::default() } else { Reply::new(Full::new(Bytes::from(set))) };
        if fresh {
            *reply.status_mut() = StatusCode::NOT_MODIFIED;
        }
        let headers = reply.headers_mut();
        if let Some(tag) = tag {
            headers.typed_insert(tag);
        }
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/jwk-set+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("public, max-age=300"));
        reply
    }
}

fn entity_tag(set: &str) -> Option<ETag> {
    let digest = digest::digest(&digest::SHA256, set.as_bytes());
    let short = digest.as_ref().first_chunk::<12>()?;
    format!("\"{}\"", URL_SAFE_NO_PAD.encode(short)).parse().ok()
}
