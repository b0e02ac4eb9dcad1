//! The third, small way: which services there are.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ACCEPT_RANGES, ETAG, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED};
use http::request::Parts;
use http_body::Body;
use http_body_util::Full;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::gateway::entry::Entry;
use crate::gateway::forward::{Forward, OnBehalf, as_json, passed};
use crate::gateway::refusal::Refusal;
use crate::gateway::reply::Reply;
use crate::gateway::route;
use crate::gateway::service::Services;
use crate::gateway::upstream::{Answer, Way};
use crate::names::{ServiceId, UpstreamId};
use crate::record::Record;

/// Who may ask which services there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// `"open"`: anybody, as most EHRs and test tools expect. `"authenticated"`: callers with a JWT.
    pub mode: Mode,
}

/// Who may ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Anybody.
    #[default]
    Open,
    /// Callers with a JWT (CDS Hooks 1.0 asked for it on every call; 2.0 where a service requires it).
    Authenticated,
}

/// The way of a discovery call.
#[derive(Debug)]
pub struct DiscoveryPath {
    mode: Mode,
    entry: Arc<Entry>,
    services: Arc<Services>,
    upstreams: Vec<UpstreamId>,
    forward: Arc<Forward>,
}

#[derive(Deserialize)]
struct Document<'a> {
    #[serde(borrow)]
    services: Vec<&'a RawValue>,
}

#[derive(Deserialize)]
struct Listed {
    id: String,
}

impl DiscoveryPath {
    /// The way through these steps, to all these upstreams.
    pub const fn new(
        mode: Mode,
        entry: Arc<Entry>,
        services: Arc<Services>,
        upstreams: Vec<UpstreamId>,
        forward: Arc<Forward>,
    ) -> Self {
        Self { mode, entry, services, upstreams, forward }
    }

    /// (authenticate → limit) → ask every upstream → list what this gateway serves
    ///
    /// # Errors
    /// [`Refusal`] of the first step that refuses.
    pub async fn run<B>(
        &self,
        parts: &Parts,
        body: B,
        record: &mut Record,
    ) -> Result<Reply, Refusal>
    where
        B: Body<Data = Bytes> + Send,
    {
        let caller = match self.mode {
            Mode::Open => None,
            Mode::Authenticated => {
                Some(self.entry.admit(&route::Way::Discovery, parts, body, record).await?.0)
            }
        };
        let on_behalf = caller.as_ref().map_or(OnBehalf::Anybody, OnBehalf::Discovery);
        let asked = self.asked(parts);
        let mut listed = Vec::new();
        for upstream in &self.upstreams {
            let call = (asked.as_ref(), Bytes::new());
            let answer =
                self.forward.call(upstream, Way::Discovery, call, on_behalf, record).await?;
            if !answer.status().is_success() {
                return Ok(passed(answer, record));
            }
            listed.push((upstream, answer));
        }
        self.merge(listed, record)
    }

    /// What upstreams are asked. A list made of several has no tag and no date of its own: that one of
    /// them has not changed says nothing about it.
    fn asked<'p>(&self, parts: &'p Parts) -> Cow<'p, Parts> {
        let mut asked = Cow::Borrowed(parts);
        if self.upstreams.len() > 1 {
            for name in [IF_NONE_MATCH, IF_MODIFIED_SINCE] {
                asked.to_mut().headers.remove(name);
            }
        }
        asked
    }

    /// One upstream's answer of which everything is served passes as it is, `ETag` included; any other is
    /// made anew from the entries, each byte for byte.
    fn merge(
        &self,
        listed: Vec<(&UpstreamId, Answer)>,
        record: &mut Record,
    ) -> Result<Reply, Refusal> {
        let (mut entries, mut complete) = (Vec::new(), listed.len() == 1);
        for (upstream, answer) in &listed {
            let document: Document<'_> =
                serde_json::from_slice(answer.body()).map_err(|_| Refusal::Discovery)?;
            for entry in document.services {
                if self.serves(upstream, entry)? {
                    entries.push(entry.get().to_owned());
                } else {
                    complete = false;
                }
            }
        }
        let Some((_, first)) = listed.into_iter().next() else {
            return Err(Refusal::NoService);
        };
        let mut reply = passed(first, record);
        as_json(&mut reply);
        if !complete {
            for name in [ETAG, LAST_MODIFIED, ACCEPT_RANGES] {
                reply.headers_mut().remove(name);
            }
            let body = format!("{{\"services\":[{}]}}", entries.join(","));
            *reply.body_mut() = Full::new(Bytes::from(body));
        }
        Ok(reply)
    }

    /// Whether a call to the listed service would reach this very upstream.
    fn serves(&self, upstream: &UpstreamId, entry: &RawValue) -> Result<bool, Refusal> {
        let listed: Listed = serde_json::from_str(entry.get()).map_err(|_| Refusal::Discovery)?;
        let service =
            ServiceId::new(&listed.id).ok().and_then(|id| self.services.get(&id).cloned());
        Ok(service.is_some_and(|service| &service.upstream == upstream))
    }
}
