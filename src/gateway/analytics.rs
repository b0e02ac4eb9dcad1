//! Analytics, as the drafts of 2016 to 2018 had them and as clients in the wild still call them.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http_body::Body;
use percent_encoding::percent_decode_str;

use crate::audit::{Event, Print, What};
use crate::clock::Clock;
use crate::gateway::cards::policy::Ids;
use crate::gateway::delivery::{Deliveries, Turn};
use crate::gateway::entry::Entry;
use crate::gateway::forward::{Forward, OnBehalf, empty, passed, taken_or_passed};
use crate::gateway::issued::Lookup;
use crate::gateway::refusal::Refusal;
use crate::gateway::replay::Caller;
use crate::gateway::reply::Reply;
use crate::gateway::route;
use crate::gateway::service::{Repeat, Service, Services};
use crate::gateway::tokens::IdError;
use crate::gateway::upstream::Way;
use crate::names::ServiceId;
use crate::record::Record;
use crate::store::{Key, Namespace};

/// The way of an analytics call.
#[derive(Debug)]
pub struct AnalyticsPath {
    entry: Arc<Entry>,
    services: Arc<Services>,
    lookup: Arc<Lookup>,
    deliveries: Arc<Deliveries>,
    forward: Arc<Forward>,
    clock: Arc<dyn Clock>,
}

impl AnalyticsPath {
    /// The way through these steps.
    pub fn new(
        entry: Arc<Entry>,
        services: Arc<Services>,
        lookup: Arc<Lookup>,
        deliveries: Arc<Deliveries>,
        forward: Arc<Forward>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { entry, services, lookup, deliveries, forward, clock }
    }

    /// authenticate, or take the id for it → limit → map back → deliver once
    ///
    /// # Errors
    /// [`Refusal`] of the first step that refuses.
    pub async fn run<B>(
        &self,
        (id, uuid): (&ServiceId, &str),
        parts: &Parts,
        body: B,
        record: &mut Record,
    ) -> Result<Reply, Refusal>
    where
        B: Body<Data = Bytes> + Send,
    {
        let service = self.services.get(id).ok_or(Refusal::NoService)?;
        // A token that is shown is checked, also where none is asked for.
        let by_uuid = service.takes_uuid_alone() && !parts.headers.contains_key(AUTHORIZATION);
        let (caller, body) = if by_uuid {
            (None, self.entry.body(parts, body).await?)
        } else {
            let way = route::Way::Analytics(id.clone(), uuid.to_owned());
            let (caller, body) = self.entry.admit(&way, parts, body, record).await?;
            (Some(caller), body)
        };
        if let Some(caller) = caller.as_ref().filter(|_| service.cards.ids == Ids::Pass) {
            return self
                .pass((id, uuid), service, (parts, body.bytes().clone()), caller, record)
                .await;
        }
        let client = caller.as_ref().map(|caller| caller.client());
        let found = self.lookup.suggestion(uuid, client, id).await?;
        record.decide(|| decided(uuid, found.as_ref().err()));
        let (issued, original) = found?;
        record.hook_instance = Some(original.binding.hook_instance);
        record.client = Some(original.binding.client.clone());

        let (answer, place) = (issued.record_key(), issued.index().to_be_bytes());
        let key = Key::new(Namespace::Delivery, &[b"analytics", answer.as_bytes(), &place]);
        // As long as somebody can repeat it: the id may live longer than new ones do.
        let until = self.clock.now().plus(service.feedback.lifetime.get()).max(issued.expires());
        let claimed = match self.deliveries.claim(key, until, issued.history()).await? {
            Turn::Mine(claimed) => claimed,
            Turn::Busy => return Err(Refusal::Busy),
            Turn::Done(_) => {
                return match service.feedback.repeat {
                    Repeat::Absorb => Ok(empty(StatusCode::OK)),
                    Repeat::Refuse => Err(Refusal::Repeated),
                };
            }
        };
        let instance = original.binding.hook_instance;
        let on_behalf = match &caller {
            Some(caller) => OnBehalf::Outcome(caller, instance),
            None => OnBehalf::Issued(
                &original.binding.client,
                original.binding.tenant.as_ref(),
                instance,
            ),
        };
        let answer = self
            .forward
            .call(
                &service.upstream,
                Way::Analytics(id, &original.text),
                (parts, body.bytes().clone()),
                on_behalf,
                record,
            )
            .await;
        match answer {
            Ok(answer) if answer.status().is_success() => {
                self.deliveries.settle(claimed, answer.status()).await;
                Ok(empty(StatusCode::OK))
            }
            Ok(answer) => {
                self.deliveries.release(claimed).await;
                Ok(passed(answer, record))
            }
            Err(refusal) => {
                self.deliveries.release(claimed).await;
                Err(refusal)
            }
        }
    }

    /// The id is the service's own: it is not mapped, and nobody but the service can tell a repeat.
    async fn pass(
        &self,
        (id, uuid): (&ServiceId, &str),
        service: &Service,
        call: (&Parts, Bytes),
        caller: &Caller,
        record: &mut Record,
    ) -> Result<Reply, Refusal> {
        // As the client's URL spells it; the upstream's spells it anew.
        let uuid = percent_decode_str(uuid).decode_utf8_lossy();
        let way = Way::Analytics(id, &uuid);
        let on_behalf = OnBehalf::Unmapped(caller);
        let answer = self.forward.call(&service.upstream, way, call, on_behalf, record).await?;
        Ok(taken_or_passed(answer, record))
    }
}

/// What was decided about an id.
fn decided(uuid: &str, unknown: Option<&IdError>) -> Event {
    let id = Print::of(uuid.as_bytes());
    match unknown {
        None => Event::new(What::IdUsed { id }),
        Some(error) => Event::new(What::IdRefused { id }).because(Refusal::from(*error).reason()),
    }
}
