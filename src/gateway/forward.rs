//! The step from an admitted call to the upstream and back, with everything that is told along.

use std::sync::Arc;

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use http_body_util::Full;

use crate::gateway::refusal::Refusal;
use crate::gateway::replay::Caller;
use crate::gateway::reply::{Public, Reply};
use crate::gateway::upstream::{Answer, Call, Identity, Upstreams, Way};
use crate::names::{ClientId, HookInstance, Tenant, UpstreamId};
use crate::record::Record;

/// On whose behalf the upstream is called.
#[derive(Clone, Copy, Debug)]
pub enum OnBehalf<'a> {
    /// A caller with a token.
    Caller(&'a Caller),
    /// The client that a card's id was issued to: it alone was shown.
    Issued(&'a ClientId, Option<&'a Tenant>),
    /// Nobody in particular, on the open discovery way.
    Nobody,
}

/// Calls upstreams.
#[derive(Debug)]
pub struct Forward {
    upstreams: Arc<Upstreams>,
}

impl Forward {
    /// A step that calls these upstreams.
    pub const fn new(upstreams: Arc<Upstreams>) -> Self {
        Self { upstreams }
    }

    /// Calls `upstream`, and notes in `record` how long it took.
    ///
    /// # Errors
    /// [`Refusal`] where there is no answer that could be passed on.
    pub async fn call(
        &self,
        upstream: &UpstreamId,
        way: Way<'_>,
        (parts, body): (&Parts, Bytes),
        (on_behalf, hook_instance): (OnBehalf<'_>, Option<HookInstance>),
        record: &mut Record,
    ) -> Result<Answer, Refusal> {
        let (client, issuer, tenant) = match on_behalf {
            OnBehalf::Caller(c) => (Some(c.client()), Some(c.issuer()), c.tenant()),
            OnBehalf::Issued(client, tenant) => (Some(client), None, tenant),
            OnBehalf::Nobody => (None, None, None),
        };
        let identity = Identity {
            client,
            issuer,
            tenant,
            hook_instance,
            request_id: record.id,
            client_address: record.address,
        };
        let call = Call { way, headers: &parts.headers, body, identity };
        let answer = self.upstreams.call(upstream, call).await?;
        record.upstream = record.upstream.saturating_add(answer.upstream_time());
        Ok(answer)
    }
}

/// An upstream's answer as it goes out. A masked one keeps its status and gets a body that says nothing.
pub fn passed(answer: Answer, record: &mut Record) -> Reply {
    if answer.is_masked() {
        record.code = Some("upstream-status");
        record.reason = Some("upstream-status");
        let mut reply = Public::new(answer.status(), "upstream-status").outcome(record.id);
        if let Some(after) = answer.headers().get(http::header::RETRY_AFTER) {
            reply.headers_mut().insert(http::header::RETRY_AFTER, after.clone());
        }
        return reply;
    }
    let (status, headers, body) = answer.into_parts();
    let mut reply = Reply::new(Full::new(body));
    *reply.status_mut() = status;
    *reply.headers_mut() = headers;
    reply
}

/// A read JSON answer goes out as JSON, whatever its upstream called it: the most copied tutorial sends
/// cards as `text/html`, and a browser must not take them for a page.
pub fn as_json(reply: &mut Reply) {
    let headers = reply.headers_mut();
    let declared = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let is_json = declared.is_some_and(|text| {
        let kind = text.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
    });
    if !is_json {
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
}

/// An empty answer with this status.
pub fn empty(status: StatusCode) -> Reply {
    let mut reply = Reply::default();
    *reply.status_mut() = status;
    reply
}
