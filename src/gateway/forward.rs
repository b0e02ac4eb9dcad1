//! The step from an admitted call to the upstream and back, with everything that is told along.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use http_body_util::Full;

use crate::entropy::{Entropy, NoEntropy};
use crate::gateway::inspect::request::Inspected;
use crate::gateway::refusal::Refusal;
use crate::gateway::replay::Caller;
use crate::gateway::reply::{Public, Reply};
use crate::gateway::upstream::{Answer, Call, Identity, Upstreams, Way};
use crate::names::{ClientId, HookInstance, Tenant, UpstreamId};
use crate::record::{Record, UpstreamCall};

/// On whose behalf the upstream is called: the proof that somebody may.
#[derive(Clone, Copy, Debug)]
pub enum OnBehalf<'a> {
    /// A caller whose request was looked at.
    Hook(&'a Caller, &'a Inspected),
    /// A caller who reports what became of a card, and the hookInstance the card was made for.
    Outcome(&'a Caller, HookInstance),
    /// A caller who reports about an id that the service gave itself, of whatever hookInstance.
    Unmapped(&'a Caller),
    /// Whoever holds the unguessable id that was issued to this client.
    Issued(&'a ClientId, Option<&'a Tenant>, HookInstance),
    /// A caller who asks which services there are.
    Discovery(&'a Caller),
    /// Anybody, where discovery is open.
    Anybody,
}

impl OnBehalf<'_> {
    fn caller(&self) -> Option<&Caller> {
        match self {
            Self::Hook(caller, _)
            | Self::Outcome(caller, _)
            | Self::Unmapped(caller)
            | Self::Discovery(caller) => Some(caller),
            Self::Issued(..) | Self::Anybody => None,
        }
    }

    fn hook_instance(&self) -> Option<HookInstance> {
        match self {
            Self::Hook(_, inspected) => Some(inspected.hook_instance()),
            Self::Outcome(_, instance) | Self::Issued(_, _, instance) => Some(*instance),
            Self::Unmapped(_) | Self::Discovery(_) | Self::Anybody => None,
        }
    }

    fn client(&self) -> Option<&ClientId> {
        match self {
            Self::Issued(client, ..) => Some(client),
            Self::Hook(..)
            | Self::Outcome(..)
            | Self::Unmapped(_)
            | Self::Discovery(_)
            | Self::Anybody => self.caller().map(Caller::client),
        }
    }

    fn tenant(&self) -> Option<&Tenant> {
        match self {
            Self::Issued(_, tenant, _) => *tenant,
            Self::Hook(..)
            | Self::Outcome(..)
            | Self::Unmapped(_)
            | Self::Discovery(_)
            | Self::Anybody => self.caller().and_then(Caller::tenant),
        }
    }
}

/// Calls upstreams.
#[derive(Debug)]
pub struct Forward {
    upstreams: Arc<Upstreams>,
    entropy: Arc<dyn Entropy>,
}

impl Forward {
    /// A step that calls these upstreams.
    pub const fn new(upstreams: Arc<Upstreams>, entropy: Arc<dyn Entropy>) -> Self {
        Self { upstreams, entropy }
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
        on_behalf: OnBehalf<'_>,
        record: &mut Record,
    ) -> Result<Answer, Refusal> {
        let trace = record.trace.as_ref().ok_or(NoEntropy)?.child(self.entropy.as_ref())?;
        let identity = Identity {
            client: on_behalf.client(),
            issuer: on_behalf.caller().map(Caller::issuer),
            tenant: on_behalf.tenant(),
            hook_instance: on_behalf.hook_instance(),
            request_id: record.id,
            trace: &trace,
            client_address: record.address,
        };
        let call = Call { way, headers: &parts.headers, body, identity };
        let (began, step) = (record.elapsed(), record.begin());
        let answer = self.upstreams.call(upstream, call).await;
        record.called(record.elapsed().saturating_sub(began));
        let status = answer.as_ref().ok().map(|answer| answer.status().as_u16());
        let call = UpstreamCall { span: trace.span(), upstream: upstream.clone(), status };
        record.end_call("upstream", step, Some(call));
        Ok(answer?)
    }
}

/// An upstream's answer as it goes out. A masked one keeps its status and gets a body that says nothing.
pub fn passed(answer: Answer, record: &mut Record) -> Reply {
    let status = answer.status();
    // Neither is 304, with which a condition of the caller's is met.
    if status.is_client_error() || status.is_server_error() {
        record.code = Some("upstream-status");
        record.reason = Some("upstream-status");
    }
    let masked = answer.masked();
    let (status, headers, body) = answer.into_parts();
    let mut reply = if masked {
        Public::new(status, "upstream-status").outcome(record.id)
    } else {
        let mut reply = Reply::new(Full::new(body));
        *reply.status_mut() = status;
        reply
    };
    if masked {
        if let Some(after) = headers.get(RETRY_AFTER) {
            reply.headers_mut().insert(RETRY_AFTER, after.clone());
        }
    } else {
        *reply.headers_mut() = headers;
    }
    reply
}

/// An upstream's answer to a report: taken, which has no body in any version of the standard, or passed.
pub fn taken_or_passed(answer: Answer, record: &mut Record) -> Reply {
    if answer.status().is_success() { empty(answer.status()) } else { passed(answer, record) }
}

/// A read JSON answer goes out as JSON, whatever its upstream called it: the most copied tutorial sends
/// cards as `text/html`, and a browser must not take them for a page.
pub fn as_json(reply: &mut Reply) {
    let headers = reply.headers_mut();
    let declared = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let is_json = declared.and_then(|text| text.parse::<mime::Mime>().ok()).is_some_and(|mime| {
        mime.type_() == mime::APPLICATION
            && (mime.subtype() == mime::JSON || mime.suffix() == Some(mime::JSON))
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
