//! One line and one count per request.
//!
//! A [`Record`] is filled on a request's way and closed once, by the outermost function. It has no
//! field for a token, a body, a patient datum or a link's target: what cannot be recorded cannot leak.

pub mod history;
mod decided;
mod steps;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, StatusCode};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::audit::{About, Event, Print};
use crate::clock::Clock;
use crate::names::{ClientId, HookInstance, RequestId, ServiceId, Tenant};
use crate::record::decided::Ended;
use crate::record::history::{Happened, History};
use crate::trace::Trace;

pub use crate::record::decided::Opening;
pub use crate::record::steps::{Begun, Step, UpstreamCall};

/// The word in [`Record::met`] for links that went out.
pub const LINKS_SEALED: &str = "links-sealed";

/// What is told about one request.
#[derive(Debug)]
pub struct Record {
    /// Names the request here, in the answer and towards the upstream.
    pub id: RequestId,
    /// Whom the request came from, behind trusted proxies.
    pub address: IpAddr,
    /// The method.
    pub method: Method,
    /// The way's name, `none` where there is no such way.
    pub way: &'static str,
    /// The service that was called.
    pub service: Option<ServiceId>,
    /// The client that the token named, once its issuer is known.
    pub client: Option<ClientId>,
    /// The token's tenant, once verified.
    pub tenant: Option<Tenant>,
    /// Which audience rule matched.
    pub audience_rule: Option<&'static str>,
    /// The hook, once read.
    pub hook: Option<String>,
    /// The request's hookInstance, once read.
    pub hook_instance: Option<HookInstance>,
    /// The stable code of a refusal, as the caller sees it.
    pub code: Option<&'static str>,
    /// The exact reason of a refusal, for the operator only.
    pub reason: Option<&'static str>,
    /// What was expected and what came, where that helps and holds no secret.
    pub detail: Option<String>,
    /// What a check in observe mode would have refused.
    pub observed: Vec<&'static str>,
    /// How long the upstream took; nothing where it was not called.
    pub upstream: Option<Duration>,
    /// What was met in the cards, by a stable word each, and how often.
    pub met: Vec<(&'static str, usize)>,
    /// Whether a link was opened.
    pub opened: Option<Opening>,
    /// The link that was to be opened, where what came has the form of one.
    pub link: Option<Print>,
    /// The request's place in its trace.
    pub trace: Option<Trace>,
    /// What was decided on the way, where somebody wants to know.
    decided: Option<Vec<Event>>,
    /// What its time went into, where somebody wants to know.
    steps: Option<Vec<Step>>,
    clock: Arc<dyn Clock>,
    started: Duration,
}

impl Record {
    /// Opens the record of a request that came now.
    pub fn open(id: RequestId, address: IpAddr, method: Method, clock: &Arc<dyn Clock>) -> Self {
        Self {
            id,
            address,
            method,
            way: "none",
            service: None,
            client: None,
            tenant: None,
            audience_rule: None,
            hook: None,
            hook_instance: None,
            code: None,
            reason: None,
            detail: None,
            observed: Vec::new(),
            upstream: None,
            met: Vec::new(),
            opened: None,
            link: None,
            trace: None,
            decided: None,
            steps: None,
            clock: Arc::clone(clock),
            started: clock.monotonic(),
        }
    }

    /// What is decided on the way is wanted from now on.
    pub fn want_decisions(&mut self) {
        self.decided = Some(Vec::new());
    }

    /// Something was decided on the way. What it was is asked for only where somebody wants to know.
    pub fn decide(&mut self, event: impl FnOnce() -> Event) {
        if let Some(decided) = &mut self.decided {
            decided.push(event());
        }
    }

    /// What was decided in this request, which is answered with `status`: what the steps told, and what became of the
    /// request as a whole. Nothing where nobody wants to know, or where nothing was decided.
    pub fn decisions(&self, status: StatusCode) -> Option<(About, Vec<Event>)> {
        let mut events = self.decided.clone()?;
        let ended = Ended {
            way: self.way,
            method: &self.method,
            reason: self.reason,
            detail: self.detail.as_deref(),
            opened: self.opened,
            link: self.link,
        };
        events.extend(ended.verdict());
        if events.is_empty() {
            return None;
        }
        let about = About {
            request: self.id,
            trace: self.trace.as_ref().map(Trace::id),
            address: self.address,
            way: self.way,
            status: status.as_u16(),
            client: self.client.clone(),
            tenant: self.tenant.clone(),
            service: self.service.clone(),
            hook_instance: self.hook_instance,
            observed: self.observed.clone(),
        };
        Some((about, events))
    }

    /// What the request's time goes into is wanted from now on.
    pub fn want_steps(&mut self) {
        self.steps = Some(Vec::new());
    }

    /// What its time went into; nothing where nobody wants to know.
    pub fn steps(&self) -> Option<&[Step]> {
        self.steps.as_deref()
    }

    /// A step begins.
    pub fn begin(&self) -> Begun {
        Begun(self.steps.as_ref().map(|_| self.elapsed()))
    }

    /// The step that began so has ended.
    pub fn end(&mut self, name: &'static str, begun: Begun) {
        self.end_call(name, begun, None);
    }

    /// The same for a call to an upstream.
    pub fn end_call(&mut self, name: &'static str, begun: Begun, call: Option<UpstreamCall>) {
        let ended = self.elapsed();
        if let (Some(steps), Some(began)) = (&mut self.steps, begun.0) {
            steps.push(Step { name, began, ended, call });
        }
    }

    /// The upstream was called, and took this long.
    pub fn called(&mut self, took: Duration) {
        self.upstream = Some(self.upstream.unwrap_or_default().saturating_add(took));
    }

    /// How long ago the request came.
    pub fn elapsed(&self) -> Duration {
        self.clock.monotonic().saturating_sub(self.started)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    way: &'static str,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    way: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MetLabels {
    what: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WayLabels {
    way: &'static str,
}

/// Closes records: writes the line, counts the request. Clones count into the same.
#[derive(Clone, Debug)]
pub struct Recorder {
    requests: Family<RequestLabels, Counter>,
    refusals: Family<ReasonLabels, Counter>,
    observed: Family<ReasonLabels, Counter>,
    met: Family<MetLabels, Counter>,
    added: Family<WayLabels, Histogram>,
    history: History,
}

/// Seconds; the whole call's budget is half a second, so most of the buckets lie far below.
const ADDED_BUCKETS: [f64; 12] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0];

impl Recorder {
    /// A recorder that counts in `registry` and remembers in `history`.
    pub fn new(registry: &mut Registry, history: History) -> Self {
        let recorder = Self {
            requests: Family::default(),
            refusals: Family::default(),
            observed: Family::default(),
            met: Family::default(),
            added: Family::new_with_constructor(|| Histogram::new(ADDED_BUCKETS)),
            history,
        };
        registry.register(
            "hookgate_requests",
            "Requests by way and status",
            recorder.requests.clone(),
        );
        registry.register(
            "hookgate_refusals",
            "Refusals by way and exact reason",
            recorder.refusals.clone(),
        );
        registry.register(
            "hookgate_observed",
            "What checks in observe mode would have refused",
            recorder.observed.clone(),
        );
        registry.register(
            "hookgate_cards_met",
            "What was met in cards: links sealed, kept and dropped, addresses elsewhere",
            recorder.met.clone(),
        );
        registry.register(
            "hookgate_added_seconds",
            "Time spent in the gateway, the upstream's not counted",
            recorder.added.clone(),
        );
        recorder
    }

    /// The last hour, for whoever shows it.
    pub fn history(&self) -> History {
        self.history.clone()
    }

    /// Closes `record`: the answer with `status` and `bytes` of body is ready.
    pub fn close(&self, record: &Record, status: StatusCode, bytes: usize) {
        let upstream = record.upstream.unwrap_or_default();
        let added = record.elapsed().saturating_sub(upstream);
        self.count(record, status, added);
        self.history.note(&happened(record, status));
        tracing::info!(
            target: "hookgate::access",
            request = %record.id,
            trace = record.trace.as_ref().map(|trace| tracing::field::display(trace.id())),
            address = %record.address,
            method = %record.method,
            way = record.way,
            status = status.as_u16(),
            code = record.code,
            reason = record.reason,
            detail = record.detail.as_deref(),
            client = record.client.as_ref().map(ClientId::as_str),
            tenant = record.tenant.as_ref().map(Tenant::as_str),
            service = record.service.as_ref().map(ServiceId::as_str),
            audience = record.audience_rule,
            hook = record.hook.as_deref(),
            hook_instance = record.hook_instance.map(tracing::field::display),
            observed = (!record.observed.is_empty()).then(|| record.observed.join(",")),
            met = (!record.met.is_empty()).then(|| met(record)),
            bytes,
            upstream_us = micros(upstream),
            added_us = micros(added),
        );
    }

    fn count(&self, record: &Record, status: StatusCode, added: Duration) {
        let way = record.way;
        self.requests.get_or_create(&RequestLabels { way, status: status.as_u16() }).inc();
        if let Some(reason) = record.reason {
            self.refusals.get_or_create(&ReasonLabels { way, reason }).inc();
        }
        for reason in &record.observed {
            self.observed.get_or_create(&ReasonLabels { way, reason }).inc();
        }
        for &(what, count) in &record.met {
            let count = u64::try_from(count).unwrap_or(u64::MAX);
            self.met.get_or_create(&MetLabels { what }).inc_by(count);
        }
        self.added.get_or_create(&WayLabels { way }).observe(added.as_secs_f64());
    }
}

fn happened(record: &Record, status: StatusCode) -> Happened<'_> {
    let minted = record.met.iter().find(|(what, _)| *what == LINKS_SEALED);
    Happened {
        status,
        reason: record.reason,
        service: record.service.as_ref(),
        upstream: record.upstream,
        minted: minted.and_then(|(_, count)| u64::try_from(*count).ok()).unwrap_or_default(),
        opened: record.opened == Some(Opening::First),
    }
}

/// `links-sealed=2,links-kept-smart=1`
fn met(record: &Record) -> String {
    let each: Vec<String> =
        record.met.iter().map(|(what, count)| format!("{what}={count}")).collect();
    each.join(",")
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{ManualClock, UnixTime};

    #[test]
    fn what_nobody_wants_to_know_is_not_even_put_together() {
        let clock: Arc<dyn Clock> = Arc::new(ManualClock::new(UnixTime::from_secs(1)));
        let address = IpAddr::from([192, 0, 2, 1]);
        let mut record = Record::open(RequestId::UNKNOWN, address, Method::POST, &clock);
        record.decide(|| unreachable!("nobody wants to know"));
        assert_eq!(record.decisions(StatusCode::OK), None);
    }
}
