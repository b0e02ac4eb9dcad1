//! How often somebody may come.
//!
//! Before authentication an address is limited, after it a client and a client's calls to one
//! service. A check never fails: it passes or says how long to stay away. What is held is bounded,
//! whoever comes.
//!
//! With Redis the limits are those of all replicas together. This replica's own buckets are asked
//! first: what they refuse costs Redis nothing, and they hold by themselves while Redis does not
//! answer. Without Redis a check never waits.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use governor::Quota;

use crate::clock::Clock;
use crate::gateway::auth::Verified;
use crate::names::ClientId;
use crate::names::ServiceId;
use crate::problem::Problems;
use crate::redis::Redis;

mod settings;
mod metrics;
mod standing;
mod subject;
mod buckets;
mod question;
mod nearest;
mod reach;
mod fleet;

pub use crate::gateway::limit::metrics::{Limit, Metrics};
pub use crate::gateway::limit::nearest::{Near, Who};
pub use crate::gateway::limit::settings::{ClientSettings, Mode, Rate, Settings};
pub use crate::gateway::limit::standing::{Limited, Passed, Policy, Standing};

use crate::gateway::limit::buckets::{Answer, Buckets, Left, Wait};
use crate::gateway::limit::fleet::{Draws, Fleet};
use crate::gateway::limit::metrics::Outcome;
use crate::gateway::limit::nearest::Noted;
use crate::gateway::limit::question::Question;
use crate::gateway::limit::settings::Quotas;
use crate::gateway::limit::subject::Subject;

/// A verified call within its client's limits. Only [`Limits::admit`] makes one.
#[derive(Debug)]
pub struct Admitted(Verified);

impl Admitted {
    /// The token, on its way to be spent.
    pub fn into_verified(self) -> Verified {
        self.0
    }
}

/// One kind of limit, with what some clients have instead of the general figure.
#[derive(Debug)]
struct PerClient {
    general: Arc<Buckets>,
    own: HashMap<ClientId, Arc<Buckets>>,
}

impl PerClient {
    fn of(&self, client: &ClientId) -> &Buckets {
        self.own.get(client).unwrap_or(&self.general)
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Buckets>> {
        std::iter::once(&self.general).chain(self.own.values())
    }
}

/// All limits of this process, and the way to those of all replicas.
#[derive(Debug)]
pub struct Limits {
    mode: Mode,
    fleet: Option<Arc<Fleet>>,
    /// How long a call waits for the fleet; nothing where each replica limits by itself.
    patience: Option<Duration>,
    address: Arc<Buckets>,
    failing_address: Arc<Buckets>,
    open_address: Arc<Buckets>,
    client: PerClient,
    client_service: PerClient,
    noted: Noted,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
}

impl Limits {
    /// Limits with every bucket full, shared through `redis` where there is one.
    ///
    /// # Errors
    /// [`Problems`] names every figure that cannot be held to.
    pub fn new(
        settings: &Settings,
        overrides: &[(ClientId, ClientSettings)],
        redis: Option<Redis>,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
    ) -> Result<Self, Problems> {
        let quotas = settings::check(settings, overrides)?;
        let fresh = |quota, _: Place<'_>| Arc::new(Buckets::new(quota, settings.max_keys, &clock));
        let fleet =
            redis.map(|redis| Arc::new(Fleet::new(redis, Arc::clone(&clock), metrics.clone())));
        Ok(assemble(settings, &quotas, &fresh, fleet, &clock, metrics))
    }

    /// The limits of a changed configuration. Who was over a limit that has not changed still is.
    ///
    /// # Errors
    /// [`Problems`] names every figure that cannot be held to.
    pub fn renewed(
        &self,
        settings: &Settings,
        overrides: &[(ClientId, ClientSettings)],
    ) -> Result<Self, Problems> {
        let quotas = settings::check(settings, overrides)?;
        let max = settings.max_keys;
        let kept = |quota, place: Place<'_>| {
            let held = self.held(place).filter(|held| held.serves(quota, max));
            held.map_or_else(|| Arc::new(Buckets::new(quota, max, &self.clock)), Arc::clone)
        };
        let fleet = self.fleet.clone();
        let renewed = assemble(settings, &quotas, &kept, fleet, &self.clock, self.metrics.clone());
        Ok(Self { noted: self.noted.clone(), ..renewed })
    }

    fn held(&self, place: Place<'_>) -> Option<&Arc<Buckets>> {
        match place {
            Place::General(Limit::Address) => Some(&self.address),
            Place::General(Limit::FailingAddress) => Some(&self.failing_address),
            Place::General(Limit::OpenAddress) => Some(&self.open_address),
            Place::General(Limit::Client) => Some(&self.client.general),
            Place::General(Limit::ClientService) => Some(&self.client_service.general),
            Place::All(client) => self.client.own.get(client),
            Place::Service(client) => self.client_service.own.get(client),
        }
    }

    /// Those who have used half of a limit or more at this replica, the nearest first.
    pub fn nearest(&self, at_most: usize) -> Vec<Near> {
        self.noted.nearest(at_most, |limit, who| {
            let own = match (limit, who.client()) {
                (Limit::Client, Some(client)) => self.held(Place::All(client)),
                (Limit::ClientService, Some(client)) => self.held(Place::Service(client)),
                (_, Some(_) | None) => None,
            };
            own.or_else(|| self.held(Place::General(limit)))
        })
    }

    /// Any request, before authentication. Browsers send preflights by themselves: do not ask for
    /// those.
    ///
    /// # Errors
    /// [`Limited`] where the address comes too often, or has failed too often.
    pub async fn admit_address(&self, from: IpAddr) -> Result<Passed, Limited> {
        let from = Subject::address(from);
        self.ask([
            Question::look(Limit::FailingAddress, &self.failing_address, from),
            Question::draw(Limit::Address, &self.address, from),
        ])
        .await
    }

    /// Notes that an authentication from this address has failed.
    ///
    /// With Redis the refusal waits until all replicas know: who waits for each answer gets no guess more
    /// from another replica. An address without failures left costs Redis nothing, and nobody waits.
    pub async fn note_failure(&self, from: IpAddr) {
        let from = Subject::address(from);
        let failure = [Question::draw(Limit::FailingAddress, &self.failing_address, from)];
        match self.mode {
            // An empty bucket stays empty; the next admission says so.
            Mode::Enforce | Mode::Observe => {
                let mut answers = ask_until_refused(&failure);
                self.ask_fleet(&failure, &mut answers, Draws::AllOrNone).await;
                self.note(&failure, &answers);
            }
            Mode::Off => {}
        }
    }

    /// A link that is to be opened.
    ///
    /// # Errors
    /// [`Limited`] where the address opens too often.
    pub async fn admit_open(&self, from: IpAddr) -> Result<Passed, Limited> {
        let from = Subject::address(from);
        self.ask([Question::draw(Limit::OpenAddress, &self.open_address, from)]).await
    }

    /// An authenticated client's call to `service`, or to discovery.
    ///
    /// A service that is called too often does not use up what the client has for its other services,
    /// nor the other way round: what one limit refuses draws on neither.
    ///
    /// # Errors
    /// [`Limited`] where the client comes too often.
    pub async fn admit_client(
        &self,
        client: &ClientId,
        service: Option<&ServiceId>,
    ) -> Result<Passed, Limited> {
        let (all, one) = (self.client.of(client), self.client_service.of(client));
        self.ask([
            Question::draw(Limit::ClientService, one, Subject::Service(client, service)),
            Question::draw(Limit::Client, all, Subject::Client(client)),
        ])
        .await
    }

    /// Lets a verified call of `service`, or of discovery, go on.
    ///
    /// # Errors
    /// [`Limited`] where the client comes too often.
    pub async fn admit(
        &self,
        verified: Verified,
        service: Option<&ServiceId>,
    ) -> Result<Admitted, Limited> {
        let _standing = self.admit_client(verified.client(), service).await?;
        Ok(Admitted(verified))
    }

    /// Forgets who has been away long enough to start anew, and sees whether Redis is back where no call
    /// has found out. Meant to be called every 30 s or so.
    pub async fn tend(&self) {
        self.sweep();
        if let (Some(fleet), Some(patience)) = (&self.fleet, self.patience) {
            fleet.look(patience).await;
        }
    }

    fn sweep(&self) {
        for limit in Limit::ALL {
            let mut keys: usize = 0;
            for buckets in self.of_kind(limit) {
                buckets.sweep();
                keys = keys.saturating_add(buckets.keys());
            }
            self.metrics.set_keys(limit, keys);
        }
    }

    fn of_kind(&self, limit: Limit) -> Vec<&Arc<Buckets>> {
        match limit {
            Limit::Address => vec![&self.address],
            Limit::FailingAddress => vec![&self.failing_address],
            Limit::OpenAddress => vec![&self.open_address],
            Limit::Client => self.client.all().collect(),
            Limit::ClientService => self.client_service.all().collect(),
        }
    }

    async fn ask<const N: usize>(&self, questions: [Question<'_>; N]) -> Result<Passed, Limited> {
        match self.mode {
            Mode::Off => Ok(Passed::new(None)),
            Mode::Observe => {
                let mut answers = questions.each_ref().map(|question| Some(question.ask_here()));
                self.ask_fleet(&questions, &mut answers, Draws::Each).await;
                self.note(&questions, &answers);
                Ok(self.watch(&questions, answers))
            }
            Mode::Enforce => {
                let mut answers = ask_until_refused(&questions);
                if answers.iter().flatten().all(Result::is_ok) {
                    self.ask_fleet(&questions, &mut answers, Draws::AllOrNone).await;
                }
                self.note(&questions, &answers);
                self.judge(&questions, answers)
            }
        }
    }

    /// Where this replica's own buckets have room, puts the fleet's answers in the place of theirs. They
    /// learn from it: what the fleet refuses is refused here until the fleet has room again, and what was
    /// drawn here for a call that does not go on is given back.
    async fn ask_fleet<const N: usize>(
        &self,
        questions: &[Question<'_>; N],
        answers: &mut [Option<Answer>; N],
        draws: Draws,
    ) {
        let (Some(fleet), Some(patience)) = (&self.fleet, self.patience) else { return };
        let (asked, places): (Vec<Question<'_>>, Vec<_>) = questions
            .iter()
            .zip(answers)
            .filter(|(_, answer)| matches!(answer, Some(Ok(_))))
            .unzip();
        if asked.is_empty() {
            return;
        }
        let begun = self.clock.monotonic();
        let Some(told) = fleet.ask(patience, draws, &asked).await else { return };
        // Counted from the asking: who comes when the wait is over arrives there when it is over there.
        let underway = self.clock.monotonic().saturating_sub(begun);
        let ends = draws == Draws::AllOrNone && told.iter().any(Result::is_err);
        for ((question, place), answer) in asked.iter().zip(places).zip(told) {
            match answer {
                Err(Wait(wait)) => question.refuse_for(wait.saturating_sub(underway)),
                Ok(_) if ends => question.give_back(),
                Ok(_) => {}
            }
            *place = Some(answer);
        }
    }

    fn note<const N: usize>(&self, questions: &[Question<'_>; N], answers: &[Option<Answer>; N]) {
        for (question, answer) in questions.iter().zip(answers) {
            if let Some(answer) = answer {
                self.noted.note(question, *answer);
            }
        }
    }

    /// Counts how each answer came out.
    fn watch<const N: usize>(
        &self,
        questions: &[Question<'_>; N],
        answers: [Option<Answer>; N],
    ) -> Passed {
        for (question, answer) in questions.iter().zip(answers.into_iter().flatten()) {
            let outcome = if answer.is_ok() { Outcome::Passed } else { Outcome::Observed };
            self.metrics.count(question.limit, outcome);
        }
        Passed::new(None)
    }

    /// Counts the answers up to the first that refuses, and holds to them.
    fn judge<const N: usize>(
        &self,
        questions: &[Question<'_>; N],
        answers: [Option<Answer>; N],
    ) -> Result<Passed, Limited> {
        let mut tightest: Option<Standing> = None;
        for (question, answer) in questions.iter().zip(answers) {
            let (limit, policy) = (question.limit, Policy::of(question.buckets.quota()));
            match answer {
                None => {}
                Some(Err(Wait(retry_after))) => {
                    self.metrics.count(limit, Outcome::Refused);
                    return Err(Limited::new(limit, retry_after, policy));
                }
                Some(Ok(Left(remaining))) => {
                    self.metrics.count(limit, Outcome::Passed);
                    // How many failures are left is not how many calls are.
                    if question.draws && tightest.is_none_or(|held| remaining < held.remaining) {
                        tightest = Some(Standing { limit, policy, remaining });
                    }
                }
            }
        }
        Ok(Passed::new(tightest))
    }
}

/// Asks this replica's own buckets. After one that refuses none is asked, and none has been drawn on.
fn ask_until_refused<const N: usize>(questions: &[Question<'_>; N]) -> [Option<Answer>; N] {
    let mut answers = [None; N];
    for (asked, question) in questions.iter().enumerate() {
        let answer = question.ask_here();
        if let Some(place) = answers.get_mut(asked) {
            *place = Some(answer);
        }
        if answer.is_err() {
            questions.iter().take(asked).for_each(Question::give_back);

            break;
        }
    }
    answers
}

/// Which buckets are meant.
#[derive(Clone, Copy)]
enum Place<'a> {
    General(Limit),
    All(&'a ClientId),
    Service(&'a ClientId),
}

fn assemble(
    settings: &Settings,
    quotas: &Quotas,
    buckets: &dyn Fn(Quota, Place<'_>) -> Arc<Buckets>,
    fleet: Option<Arc<Fleet>>,
    clock: &Arc<dyn Clock>,
    metrics: Metrics,
) -> Limits {
    let general = |quota, limit| buckets(quota, Place::General(limit));
    let all = quotas.overrides.iter().filter_map(|own| {
        own.all.map(|quota| (own.client.clone(), buckets(quota, Place::All(&own.client))))
    });
    let service = quotas.overrides.iter().filter_map(|own| {
        own.service.map(|quota| (own.client.clone(), buckets(quota, Place::Service(&own.client))))
    });
    Limits {
        mode: settings.mode,
        fleet,
        patience: settings.shared.then(|| settings.shared_timeout.get()),
        address: general(quotas.address, Limit::Address),
        failing_address: general(quotas.failing_address, Limit::FailingAddress),
        open_address: general(quotas.open_address, Limit::OpenAddress),
        client: PerClient { general: general(quotas.client, Limit::Client), own: all.collect() },
        client_service: PerClient {
            general: general(quotas.client_service, Limit::ClientService),
            own: service.collect(),
        },
        noted: Noted::default(),
        clock: Arc::clone(clock),
        metrics,
    }
}

#[cfg(test)]
mod tests;
