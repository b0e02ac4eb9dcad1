//! Feedback: each entry is looked at by itself, mapped back, and delivered once.

use std::collections::HashMap;
use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use http::request::Parts;
use http_body::Body;

use crate::clock::Clock;
use crate::gateway::cards::policy::Ids;
use crate::gateway::delivery::{Claimed, Deliveries, Turn};
use crate::gateway::entry::Entry;
use crate::gateway::forward::{Forward, OnBehalf, empty, passed, taken_or_passed};
use crate::gateway::issued::Lookup;
use crate::gateway::outcomes::{IdPlace, Outcomes};
use crate::gateway::refusal::Refusal;
use crate::gateway::replay::Caller;
use crate::gateway::reply::Reply;
use crate::gateway::route;
use crate::gateway::service::{Service, Services};
use crate::gateway::tokens::Original;
use crate::gateway::upstream::Way;
use crate::names::{HookInstance, ServiceId};
use crate::record::Record;
use crate::store::{Key, Namespace};

/// The way of a feedback call.
#[derive(Debug)]
pub struct FeedbackPath {
    entry: Arc<Entry>,
    services: Arc<Services>,
    lookup: Arc<Lookup>,
    deliveries: Arc<Deliveries>,
    forward: Arc<Forward>,
    clock: Arc<dyn Clock>,
}

/// A known entry: where it stands in the body, and what its ids stand for.
struct Known {
    index: usize,
    card: Original,
    suggestions: Vec<Original>,
}

impl Known {
    fn original(&self, place: IdPlace) -> Option<&str> {
        let original = match place {
            IdPlace::Card => Some(&self.card),
            IdPlace::Suggestion(number) => self.suggestions.get(number),
        };
        original.map(|original| original.text.as_str())
    }
}

/// Entries of one hookInstance that are this call's to deliver.
#[derive(Default)]
struct Group {
    entries: Vec<Known>,
    claims: Vec<Claimed>,
}

impl Group {
    /// The body that has these entries alone, with the service's own ids.
    fn body(&self, outcomes: &Outcomes<'_>) -> Bytes {
        let entries: HashMap<usize, &Known> =
            self.entries.iter().map(|known| (known.index, known)).collect();
        let keep: Vec<usize> = self.entries.iter().map(|known| known.index).collect();
        outcomes.render(&keep, |index, place| entries.get(&index)?.original(place))
    }
}

impl FeedbackPath {
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

    /// authenticate → limit → map back → deliver once
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
        let way = route::Way::Feedback(id.clone());
        let (caller, body) = self.entry.admit(&way, parts, body, record).await?;
        let outcomes = Outcomes::read(body.bytes())?;
        if service.cards.ids == Ids::Pass {
            return self.pass(id, service, (parts, body.bytes().clone()), &caller, record).await;
        }
        let known = self.known(&outcomes, &caller, id, record).await?;
        if known.is_empty() && !outcomes.entries().is_empty() {
            return Err(Refusal::NoneKnown);
        }
        let (groups, done) = self.claim(known, &outcomes, &caller, id, service).await?;
        let call = FeedbackCall { id, service, parts, caller: &caller, outcomes: &outcomes };
        self.deliver(call, groups, done, record).await
    }

    /// The ids are the service's own: nothing is mapped, and nobody but the service can tell a repeat.
    async fn pass(
        &self,
        id: &ServiceId,
        service: &Service,
        call: (&Parts, Bytes),
        caller: &Caller,
        record: &mut Record,
    ) -> Result<Reply, Refusal> {
        let way = Way::Feedback(id);
        let on_behalf = OnBehalf::Unmapped(caller);
        let answer = self.forward.call(&service.upstream, way, call, on_behalf, record).await?;
        Ok(taken_or_passed(answer, record))
    }

    /// The entries whose ids this gateway issued to this client for this service, and that have not expired.
    async fn known(
        &self,
        outcomes: &Outcomes<'_>,
        caller: &Caller,
        service: &ServiceId,
        record: &mut Record,
    ) -> Result<Vec<Known>, Refusal> {
        let mut known = Vec::new();
        let found = self.lookup.entries(outcomes.entries(), caller.client(), service).await?;
        for (index, found) in found.into_iter().enumerate() {
            match found {
                Ok((card, suggestions)) => known.push(Known { index, card, suggestions }),
                Err(unknown) => record.observed.push(Refusal::from(unknown).reason()),
            }
        }
        Ok(known)
    }

    /// Sorts out what has been delivered before and claims the rest, by hookInstance.
    async fn claim(
        &self,
        known: Vec<Known>,
        outcomes: &Outcomes<'_>,
        caller: &Caller,
        id: &ServiceId,
        service: &Service,
    ) -> Result<(Vec<(HookInstance, Group)>, Option<StatusCode>), Refusal> {
        let until = self.clock.now().plus(service.feedback.lifetime.get());
        let (mut groups, mut done) = (HashMap::<HookInstance, Group>::new(), None);
        let mut order = Vec::new();
        for entry in known {
            let fingerprint = outcomes.entries().get(entry.index).map(|e| e.fingerprint());
            let parts: [&[u8]; 3] = [
                caller.client().as_str().as_bytes(),
                id.as_str().as_bytes(),
                fingerprint.as_ref().map_or(&[], |f| f.as_slice()),
            ];
            match self.deliveries.claim(Key::new(Namespace::Delivery, &parts), until).await {
                Ok(Turn::Mine(claim)) => {
                    let hook_instance = entry.card.binding.hook_instance;
                    let group = groups.entry(hook_instance).or_insert_with(|| {
                        order.push(hook_instance);
                        Group::default()
                    });
                    group.entries.push(entry);
                    group.claims.push(claim);
                }
                Ok(Turn::Done(status)) => done = Some(status),
                Ok(Turn::Busy) => {
                    self.give_back(groups).await;
                    return Err(Refusal::Busy);
                }
                Err(error) => {
                    self.give_back(groups).await;
                    return Err(error);
                }
            }
        }
        let groups = order.into_iter().filter_map(|key| groups.remove_entry(&key)).collect();
        Ok((groups, done))
    }

    async fn give_back(&self, groups: HashMap<HookInstance, Group>) {
        for claim in groups.into_values().flat_map(|group| group.claims) {
            self.deliveries.release(claim).await;
        }
    }

    /// One upstream call per hookInstance. The first failure is the answer; what other calls delivered stays
    /// delivered, and the EHR's retry brings only the rest.
    async fn deliver(
        &self,
        call: FeedbackCall<'_>,
        groups: Vec<(HookInstance, Group)>,
        done: Option<StatusCode>,
        record: &mut Record,
    ) -> Result<Reply, Refusal> {
        let (mut taken, mut failed) = (done, None);
        for (hook_instance, group) in groups {
            match self.deliver_group(&call, hook_instance, &group, record).await {
                Ok(reply) if reply.status().is_success() => {
                    taken = Some(reply.status());
                    for claim in group.claims {
                        self.deliveries.settle(claim, reply.status()).await;
                    }
                }
                failure => {
                    for claim in group.claims {
                        self.deliveries.release(claim).await;
                    }
                    failed = failed.or(Some(failure));
                }
            }
        }
        // The first answer and that to a repeat are the same: a status, and no body, which the standard
        // does not define for feedback in any version.
        failed.unwrap_or_else(|| Ok(empty(taken.unwrap_or(StatusCode::OK))))
    }

    async fn deliver_group(
        &self,
        call: &FeedbackCall<'_>,
        hook_instance: HookInstance,
        group: &Group,
        record: &mut Record,
    ) -> Result<Reply, Refusal> {
        let body = group.body(call.outcomes);
        let answer = self
            .forward
            .call(
                &call.service.upstream,
                Way::Feedback(call.id),
                (call.parts, body),
                OnBehalf::Outcome(call.caller, hook_instance),
                record,
            )
            .await?;
        Ok(passed(answer, record))
    }
}

struct FeedbackCall<'a> {
    id: &'a ServiceId,
    service: &'a Service,
    parts: &'a Parts,
    caller: &'a Caller,
    outcomes: &'a Outcomes<'a>,
}
