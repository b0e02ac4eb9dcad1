//! The first half of every EHR's way: authenticate → limit → body → spend the token.

use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http_body::Body;
use url::Url;

use crate::body::{Held, Intake};
use crate::client_certificate::ClientCertificate;
use crate::gateway::auth::{Authenticator, Called};
use crate::gateway::limit::Limits;
use crate::gateway::refusal::Refusal;
use crate::gateway::replay::{Caller, Replay};
use crate::gateway::route::Way;
use crate::record::Record;

/// Lets callers in.
#[derive(Debug)]
pub struct Entry {
    auth: Arc<Authenticator>,
    limits: Arc<Limits>,
    intake: Intake,
    replay: Replay,
    base: String,
}

impl Entry {
    /// The entry below `public_url`.
    pub fn new(
        auth: Arc<Authenticator>,
        limits: Arc<Limits>,
        intake: Intake,
        replay: Replay,
        public_url: &Url,
    ) -> Self {
        let base = public_url.as_str().trim_end_matches('/').to_owned();
        Self { auth, limits, intake, replay, base }
    }

    /// Lets a call in, and takes its body. The certificate of its connection, if there is one, stands in the
    /// extensions of `parts`.
    ///
    /// # Errors
    /// [`Refusal`] of the first step that refuses.
    pub async fn admit<B>(
        &self,
        way: &Way,
        parts: &Parts,
        body: B,
        record: &mut Record,
    ) -> Result<(Caller, Held), Refusal>
    where
        B: Body<Data = Bytes> + Send,
    {
        let called = called(way).ok_or(Refusal::NoService)?;
        let certificate = parts.extensions.get::<Arc<ClientCertificate>>().map(AsRef::as_ref);
        let step = record.begin();
        let authenticated = self.auth.authenticate(&parts.headers, &called, certificate).await;
        record.end("auth", step);
        let verified = match authenticated {
            Ok(verified) => verified,
            Err(error) => {
                record.client = error.client().cloned();
                return Err(error.into());
            }
        };
        record.client = Some(verified.client().clone());
        record.tenant = verified.tenant().cloned();
        record.audience_rule = Some(verified.audience_rule().as_str());
        let step = record.begin();
        let admitted = self.limits.admit(verified, way.service()).await;
        record.end("limit", step);
        let admitted = admitted?;
        if takes_json(way) {
            require_json(parts)?;
        }
        let step = record.begin();
        let body = self.intake.read(&parts.headers, body).await;
        record.end("body", step);
        let body = body?;
        let url = format!("{}{}", self.base, parts.uri.path());
        let step = record.begin();
        let caller = self.replay.spend(way, admitted, (&parts.method, &url), &body).await;
        record.end("spend", step);
        let caller = caller?;
        record.observed.extend(caller.observed());
        Ok((caller, body))
    }

    /// Takes the body of a call that needs no token.
    ///
    /// # Errors
    /// [`Refusal`] where the body cannot be taken.
    pub async fn body<B>(&self, parts: &Parts, body: B) -> Result<Held, Refusal>
    where
        B: Body<Data = Bytes> + Send,
    {
        Ok(self.intake.read(&parts.headers, body).await?)
    }
}

/// What the token must be addressed to; nothing where none is needed.
pub(crate) fn called(way: &Way) -> Option<Called<'_>> {
    match way {
        Way::Discovery => Some(Called::Discovery),
        Way::Hook(service) => Some(Called::Service(service)),
        Way::Feedback(service) => Some(Called::Feedback(service)),
        Way::Analytics(service, uuid) => Some(Called::Analytics(service, uuid)),
        Way::Open(_) | Way::Jwks => None,
    }
}

/// The drafts' analytics calls come with no body, an empty object, or no type at all.
fn takes_json(way: &Way) -> bool {
    matches!(way, Way::Hook(_) | Way::Feedback(_))
}

/// `application/json`, and what is JSON by its suffix (RFC 6839 section 3.1), `application/fhir+json` above all.
fn require_json(parts: &Parts) -> Result<(), Refusal> {
    let declared = parts.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let is_json = declared.and_then(|text| text.parse::<mime::Mime>().ok()).is_some_and(|mime| {
        mime.type_() == mime::APPLICATION
            && (mime.subtype() == mime::JSON || mime.suffix() == Some(mime::JSON))
    });
    if is_json { Ok(()) } else { Err(Refusal::MediaType) }
}
