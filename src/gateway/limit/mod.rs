//! How often somebody may come.
//!
//! Before authentication an address is limited, after it a client and a client's calls to one
//! service. A check never waits and never fails: it passes or says how long to stay away. What is
//! held is bounded, whoever comes.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use governor::Quota;

use crate::clock::Clock;
use crate::gateway::auth::Verified;
use crate::names::ClientId;
use crate::names::ServiceId;

mod settings;
mod metrics;
mod standing;
mod subject;
mod buckets;
mod question;

pub use crate::gateway::limit::metrics::{Limit, Metrics};
pub use crate::gateway::limit::settings::{ClientSettings, Mode, Rate, Settings, SettingsError};
pub use crate::gateway::limit::standing::{Limited, Passed, Policy, Standing};

use crate::gateway::limit::buckets::{Answer, Buckets, Left, Wait};
use crate::gateway::limit::metrics::Outcome;
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

/// All limits of this process.
#[derive(Debug)]
pub struct Limits {
    mode: Mode,
    address: Arc<Buckets>,
    failing_address: Arc<Buckets>,
    open_address: Arc<Buckets>,
    client: PerClient,
    client_service: PerClient,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
}

impl Limits {
    /// Limits with every bucket full.
    ///
    /// # Errors
    /// [`SettingsError`] names every figure that cannot be held to.
    pub fn new(
        settings: &Settings,
        overrides: &[(ClientId, ClientSettings)],
        clock: Arc<dyn Clock>,
        metrics: Metrics,
    ) -> Result<Self, SettingsError> {
        let quotas = settings::check(settings, overrides)?;
        let fresh = |quota, _: Place<'_>| Arc::new(Buckets::new(quota, settings.max_keys, &clock));
        Ok(assemble(settings.mode, &quotas, &fresh, &clock, metrics))
    }

    /// The limits of a changed configuration. Who was over a limit that has not changed still is.
    ///
    /// # Errors
    /// [`SettingsError`] names every figure that cannot be held to.
    pub fn renewed(
        &self,
        settings: &Settings,
        overrides: &[(ClientId, ClientSettings)],
    ) -> Result<Self, SettingsError> {
        let quotas = settings::check(settings, overrides)?;
        let max = settings.max_keys;
        let kept = |quota, place: Place<'_>| {
            let held = self.held(place).filter(|held| held.serves(quota, max));
            held.map_or_else(|| Arc::new(Buckets::new(quota, max, &self.clock)), Arc::clone)
        };
        Ok(assemble(settings.mode, &quotas, &kept, &self.clock, self.metrics.clone()))
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

    /// Any request, before authentication. Browsers send preflights by themselves: do not ask for
    /// those.
    ///
    /// # Errors
    /// [`Limited`] where the address comes too often, or has failed too often.
    pub fn admit_address(&self, from: IpAddr) -> Result<Passed, Limited> {
        let from = Subject::address(from);
        self.ask([
            Question::look(Limit::FailingAddress, &self.failing_address, from),
            Question::draw(Limit::Address, &self.address, from),
        ])
    }

    /// Notes that an authentication from this address has failed.
    pub fn note_failure(&self, from: IpAddr) {
        match self.mode {
            // An empty bucket stays empty; the next admission says so.
            Mode::Enforce | Mode::Observe => {
                let _ = self.failing_address.draw(&Subject::address(from));
            }
            Mode::Off => {}
        }
    }

    /// A link that is to be opened.
    ///
    /// # Errors
    /// [`Limited`] where the address opens too often.
    pub fn admit_open(&self, from: IpAddr) -> Result<Passed, Limited> {
        let from = Subject::address(from);
        self.ask([Question::draw(Limit::OpenAddress, &self.open_address, from)])
    }

    /// An authenticated client's call to `service`, or to discovery.
    ///
    /// A service that is called too often does not use up what the client has for its other services,
    /// nor the other way round: what one limit refuses draws on neither.
    ///
    /// # Errors
    /// [`Limited`] where the client comes too often.
    pub fn admit_client(
        &self,
        client: &ClientId,
        service: Option<&ServiceId>,
    ) -> Result<Passed, Limited> {
        let (all, one) = (self.client.of(client), self.client_service.of(client));
        self.ask([
            Question::draw(Limit::ClientService, one, Subject::Service(client, service)),
            Question::draw(Limit::Client, all, Subject::Client(client)),
        ])
    }

    /// Lets a verified call of `service`, or of discovery, go on.
    ///
    /// # Errors
    /// [`Limited`] where the client comes too often.
    pub fn admit(
        &self,
        verified: Verified,
        service: Option<&ServiceId>,
    ) -> Result<Admitted, Limited> {
        let _standing = self.admit_client(verified.client(), service)?;
        Ok(Admitted(verified))
    }

    /// Forgets who has been away long enough to start anew. Meant to be called every 30 s or so.
    pub fn sweep(&self) {
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

    fn ask<const N: usize>(&self, questions: [Question<'_>; N]) -> Result<Passed, Limited> {
        match self.mode {
            Mode::Off => Ok(Passed::new(None)),
            Mode::Observe => {
                Ok(self.watch(&questions, questions.each_ref().map(Question::ask_here)))
            }
            Mode::Enforce => self.hold(&questions, ask_until_refused(&questions)),
        }
    }

    /// Counts how each answer came out.
    fn watch<const N: usize>(&self, questions: &[Question<'_>; N], answers: [Answer; N]) -> Passed {
        for (question, answer) in questions.iter().zip(answers) {
            let outcome = if answer.is_ok() { Outcome::Passed } else { Outcome::Observed };
            self.metrics.count(question.limit, outcome);
        }
        Passed::new(None)
    }

    /// Counts the answers up to the first that refuses, and holds to them.
    fn hold<const N: usize>(
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
    mode: Mode,
    quotas: &Quotas,
    buckets: &dyn Fn(Quota, Place<'_>) -> Arc<Buckets>,
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
        mode,
        address: general(quotas.address, Limit::Address),
        failing_address: general(quotas.failing_address, Limit::FailingAddress),
        open_address: general(quotas.open_address, Limit::OpenAddress),
        client: PerClient { general: general(quotas.client, Limit::Client), own: all.collect() },
        client_service: PerClient {
            general: general(quotas.client_service, Limit::ClientService),
            own: service.collect(),
        },
        clock: Arc::clone(clock),
        metrics,
    }
}

#[cfg(test)]
mod tests;
