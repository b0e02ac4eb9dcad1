//! Feedback: each entry is looked at by itself, mapped back, and delivered once.

use std::collections::{HashMap, HashSet};
use std::future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::StatusCode;
use http::request::Parts;
use http_body::Body;

use crate::audit::{Event, Print, What};
use crate::clock::Clock;
use crate::gateway::cards::policy::Ids;
use crate::gateway::delivery::{Claimed, Deliveries, Turn};
use crate::gateway::entry::Entry;
use crate::gateway::forward::{Forward, OnBehalf, empty, passed, taken_or_passed};
use crate::gateway::issued::{Lookup, Mapped};
use crate::gateway::outcomes::{IdPlace, Outcomes};
use crate::gateway::refusal::Refusal;
use crate::gateway::replay::Caller;
use crate::gateway::reply::Reply;
use crate::gateway::route;
use crate::gateway::service::{Service, Services};
use crate::gateway::tokens::IdError;
use crate::gateway::upstream::Way;
use crate::names::{HookInstance, ServiceId};
use crate::record::Record;
use crate::store::{Key, Namespace};

/// How many entries of a call the store is asked about at once. One after the other, the claims of a long
/// report would take so long that the first leases end.
const AT_ONCE: usize = 64;

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
    fingerprint: [u8; 32],
    mapped: Mapped,
}

impl Known {
    fn original(&self, place: IdPlace) -> Option<&str> {
        let original = match place {
            IdPlace::Card => Some(&self.mapped.card),
            IdPlace::Suggestion(number) => self.mapped.suggestions.get(number),
        };
        original.map(|original| original.text.as_str())
    }
}

/// Known entries about cards of one hookInstance.
struct Group {
    hook_instance: HookInstance,
    entries: Vec<Known>,
}

/// What of a group is this call's to deliver.
#[derive(Default)]
struct Share {
    entries: Vec<Known>,
    claims: Vec<Claimed>,
    /// How the group's first entry was answered, where it has been delivered before.
    answered: Option<StatusCode>,
}

impl Share {
    /// What became of asking for an entry.
    fn take(&mut self, entry: Known, turn: Result<Turn, Refusal>) -> Result<(), Refusal> {
        match turn? {
            Turn::Mine(claim) => {
                self.entries.push(entry);
                self.claims.push(claim);
            }
            Turn::Done(status) if self.entries.is_empty() => {
                self.answered = self.answered.or(Some(status));
            }
            Turn::Done(_) => {}
            Turn::Busy => return Err(Refusal::Busy),
        }
        Ok(())
    }

    /// The body that has these entries alone, with the service's own ids.
    fn body(&self, outcomes: &Outcomes<'_>) -> Bytes {
        let entries: HashMap<usize, &Known> =
            self.entries.iter().map(|known| (known.index, known)).collect();
        let keep: Vec<usize> = self.entries.iter().map(|known| known.index).collect();
        outcomes.render(&keep, |index, place| entries.get(&index)?.original(place))
    }
}

/// By hookInstance, in the order in which the body has them first.
fn by_hook_instance(known: Vec<Known>) -> Vec<Group> {
    let (mut groups, mut places) = (Vec::<Group>::new(), HashMap::new());
    for entry in known {
        let hook_instance = entry.mapped.card.binding.hook_instance;
        let place = *places.entry(hook_instance).or_insert(groups.len());
        match groups.get_mut(place) {
            Some(group) => group.entries.push(entry),
            None => groups.push(Group { hook_instance, entries: vec![entry] }),
        }
    }
    groups
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
        let (known, unread) = self.known(&outcomes, &caller, id, record).await?;
        if known.is_empty() && unread.is_none() && !outcomes.entries().is_empty() {
            return Err(Refusal::NoneKnown);
        }
        let call = FeedbackCall { id, service, parts, caller: &caller, outcomes: &outcomes };
        let answer = self.deliver(&call, by_hook_instance(known), record).await;
        // Whatever became of the others: the EHR must come again with these.
        unread.map_or(answer, |error| Err(error.into()))
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

    /// The entries whose ids this gateway issued to this client for this service, and that have not
    /// expired. The error is there where others may be such, too, and cannot be read now.
    async fn known(
        &self,
        outcomes: &Outcomes<'_>,
        caller: &Caller,
        service: &ServiceId,
        record: &mut Record,
    ) -> Result<(Vec<Known>, Option<IdError>), Refusal> {
        let (mut known, mut unread) = (Vec::new(), None);
        let found = self.lookup.entries(outcomes.entries(), caller.client(), service).await?;
        for (index, (found, entry)) in found.into_iter().zip(outcomes.entries()).enumerate() {
            let fingerprint = *entry.fingerprint();
            let id = || Print::of(entry.card().as_bytes());
            match found {
                Ok(mapped) => {
                    record.decide(|| Event::new(What::IdUsed { id: id() }));
                    known.push(Known { index, fingerprint, mapped });
                }
                Err(unknown) => {
                    let reason = Refusal::from(unknown).reason();
                    record.decide(|| Event::new(What::IdRefused { id: id() }).because(reason));
                    unread = unread.or_else(|| Some(unknown).filter(|error| error.may_pass()));
                    record.observed.push(reason);
                }
            }
        }
        Ok((known, unread))
    }

    /// One upstream call per hookInstance. The first failure is the answer; what other calls delivered stays
    /// delivered, and the EHR's retry brings only the rest.
    async fn deliver(
        &self,
        call: &FeedbackCall<'_>,
        groups: Vec<Group>,
        record: &mut Record,
    ) -> Result<Reply, Refusal> {
        let (mut taken, mut failed) = (None, None);
        for group in groups {
            match self.deliver_group(call, group, record).await {
                Ok(reply) if reply.status().is_success() => taken = taken.or(Some(reply)),
                failure => failed = failed.or(Some(failure)),
            }
        }
        failed.unwrap_or_else(|| Ok(taken.unwrap_or_default()))
    }

    /// Claims, delivers and settles. The claims are taken only now, so that none of them waits for the
    /// calls of other groups while its lease runs.
    async fn deliver_group(
        &self,
        call: &FeedbackCall<'_>,
        group: Group,
        record: &mut Record,
    ) -> Result<Reply, Refusal> {
        let hook_instance = group.hook_instance;
        let mut share = Share::default();
        if let Err(refusal) = self.claim(call, group, &mut share).await {
            self.release(share.claims).await;
            return Err(refusal);
        }
        if share.entries.is_empty() {
            return Ok(empty(share.answered.unwrap_or_default()));
        }
        let answer = self
            .forward
            .call(
                &call.service.upstream,
                Way::Feedback(call.id),
                (call.parts, share.body(call.outcomes)),
                OnBehalf::Outcome(call.caller, hook_instance),
                record,
            )
            .await;
        match answer {
            Ok(answer) if answer.status().is_success() => {
                let settle = |claim| self.deliveries.settle(claim, answer.status());
                stream::iter(share.claims).for_each_concurrent(AT_ONCE, settle).await;
                // The first answer and that to a repeat are the same: the status of the first entry,
                // and no body, which the standard does not define for feedback in any version.
                Ok(empty(share.answered.unwrap_or_else(|| answer.status())))
            }
            Ok(answer) => {
                self.release(share.claims).await;
                Ok(passed(answer, record))
            }
            Err(refusal) => {
                self.release(share.claims).await;
                Err(refusal)
            }
        }
    }

    /// Sorts out what has been delivered before, and claims the rest. What was claimed stands in `share`
    /// also where this fails.
    async fn claim(
        &self,
        call: &FeedbackCall<'_>,
        group: Group,
        share: &mut Share,
    ) -> Result<(), Refusal> {
        let mut met = HashSet::new();
        // An entry that the body has twice is its own repeat.
        let mut entries = group.entries.into_iter().filter(|entry| met.insert(entry.fingerprint));
        let failed = AtomicBool::new(false);
        let claim = async |entry: Known| {
            if failed.load(Ordering::Relaxed) {
                return None;
            }
            let turn = self.claim_entry(call, &entry).await;
            failed.fetch_or(!matches!(turn, Ok(Turn::Mine(_) | Turn::Done(_))), Ordering::Relaxed);
            Some((entry, turn))
        };
        // The first alone: of two that bring the same, one goes on.
        let first = stream::iter(entries.next()).then(&claim);
        let rest = stream::iter(entries).map(&claim).buffered(AT_ONCE);
        // Those under way are brought to their end, also where one fails: a claim must be given back.
        let turns: Vec<_> = first.chain(rest).filter_map(future::ready).collect().await;
        let mut all = Ok(());
        for (entry, turn) in turns {
            let taken = share.take(entry, turn);
            all = all.and(taken);
        }
        all
    }

    async fn claim_entry(&self, call: &FeedbackCall<'_>, entry: &Known) -> Result<Turn, Refusal> {
        let (client, service) = (call.caller.client().as_str(), call.id.as_str());
        let parts = [client.as_bytes(), service.as_bytes(), &entry.fingerprint];
        let key = Key::new(Namespace::Delivery, &parts);
        // As long as somebody can repeat it: ids may live longer than new ones do.
        let lifetime = call.service.feedback.lifetime.get();
        let until = self.clock.now().plus(lifetime).max(entry.mapped.expires);
        self.deliveries.claim(key, until, entry.mapped.history).await
    }

    async fn release(&self, claims: Vec<Claimed>) {
        let release = |claim| self.deliveries.release(claim);
        stream::iter(claims).for_each_concurrent(AT_ONCE, release).await;
    }
}

struct FeedbackCall<'a> {
    id: &'a ServiceId,
    service: &'a Service,
    parts: &'a Parts,
    caller: &'a Caller,
    outcomes: &'a Outcomes<'a>,
}
