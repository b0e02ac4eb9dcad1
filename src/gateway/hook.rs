//! The first way: an EHR calls a service and gets its cards.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use http::header::{ETAG, EXPIRES, LAST_MODIFIED};
use http::request::Parts;
use http::{HeaderValue, StatusCode};
use http_body::Body;
use http_body_util::Full;

use crate::audit::{Event, Print, What};
use crate::gateway::cards::plan::Counts;
use crate::gateway::entry::Entry;
use crate::gateway::forward::{Forward, OnBehalf, as_json, passed};
use crate::gateway::inspect::policy::Policy;
use crate::gateway::inspect::request::{Finding, inspect};
use crate::gateway::refusal::Refusal;
use crate::gateway::reply::Reply;
use crate::gateway::rewrite::{Rewriter, Rewritten};
use crate::gateway::route::Way;
use crate::gateway::service::Services;
use crate::gateway::tokens::{Binding, id_of};
use crate::gateway::upstream;
use crate::names::{ClientId, ServiceId};
use crate::record::{LINKS_SEALED, Record};

/// The way of a hook call.
#[derive(Debug)]
pub struct HookPath {
    entry: Arc<Entry>,
    services: Arc<Services>,
    policies: HashMap<ClientId, Policy>,
    forward: Arc<Forward>,
    rewriter: Rewriter,
}

impl HookPath {
    /// The way through these steps.
    pub const fn new(
        entry: Arc<Entry>,
        services: Arc<Services>,
        policies: HashMap<ClientId, Policy>,
        forward: Arc<Forward>,
        rewriter: Rewriter,
    ) -> Self {
        Self { entry, services, policies, forward, rewriter }
    }

    /// authenticate → limit → inspect → forward → rewrite
    ///
    /// # Errors
    /// [`Refusal`] of the first step that refuses.
    pub async fn run<B>(
        &self,
        id: &ServiceId,
        parts: &Parts,
        body: B,
        record: &mut Record,
    ) -> Result<Reply, Refusal>
    where
        B: Body<Data = Bytes> + Send,
    {
        let service = self.services.get(id).ok_or(Refusal::NoService)?;
        let way = Way::Hook(id.clone());
        let (caller, body) = self.entry.admit(&way, parts, body, record).await?;
        let policy = self.policies.get(caller.client()).ok_or(Refusal::NoService)?;
        let inspected = inspect(body.bytes(), policy)?;
        record.hook = Some(inspected.hook().to_owned());
        record.hook_instance = Some(inspected.hook_instance());
        record.observed.extend(inspected.observed().iter().map(|finding| Finding::code(*finding)));

        let call = (parts, body.bytes().clone());
        let on_behalf = OnBehalf::Hook(&caller, &inspected);
        let answer = self
            .forward
            .call(&service.upstream, upstream::Way::Hook(id), call, on_behalf, record)
            .await?;
        let nothing = answer.status() == StatusCode::NO_CONTENT && answer.body().is_empty();
        if nothing || !answer.status().is_success() {
            return Ok(passed(answer, record));
        }
        let binding = Binding {
            client: caller.client().clone(),
            tenant: caller.tenant().cloned(),
            service: id.clone(),
            hook_instance: inspected.hook_instance(),
        };
        let step = record.begin();
        let rewritten = self.rewriter.rewrite(answer.body(), service, &binding).await;
        record.end("rewrite", step);
        let rewritten = rewritten?;
        record.met = met(&rewritten.counts);
        note_minted(&rewritten, record);
        if rewritten.without_ids {
            record.observed.push("ids-not-recorded");
        }
        if rewritten.counts.dropped_unkept > 0 {
            record.observed.push("links-not-kept");
        }
        let mut reply = passed(answer, record).map(|_| Full::new(rewritten.body));
        as_json(&mut reply);
        for name in [ETAG, LAST_MODIFIED] {
            reply.headers_mut().remove(name);
        }
        if let Some(expires) = rewritten.expires {
            let date = httpdate::fmt_http_date(expires.to_system_time());
            reply
                .headers_mut()
                .extend(HeaderValue::try_from(date).ok().map(|date| (EXPIRES, date)));
        }
        Ok(reply)
    }
}

/// One decision for each link: whoever holds it may open it.
fn note_minted(rewritten: &Rewritten, record: &mut Record) {
    for url in &rewritten.links {
        let until = rewritten.links_until;
        record.decide(|| {
            let id = url.rsplit('/').next().and_then(id_of).unwrap_or_default();
            Event::new(What::LinkMinted { link: Print::of(&id), until })
        });
    }
}

/// What was met in the cards, for the record: only what there was.
fn met(counts: &Counts) -> Vec<(&'static str, usize)> {
    let all = [
        ("cards", counts.cards),
        (LINKS_SEALED, counts.rewritten),
        ("links-kept-smart", counts.smart_kept),
        ("links-dropped-unparsable", counts.dropped_unparsable),
        ("links-dropped-scheme", counts.dropped_scheme),
        ("links-dropped-origin", counts.dropped_origin),
        ("links-dropped-not-kept", counts.dropped_unkept),
        ("source-urls", counts.source_urls),
        ("detail-links", counts.detail_links),
    ];
    all.into_iter().filter(|(_, count)| *count > 0).collect()
}
