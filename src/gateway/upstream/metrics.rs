//! What can be seen of the upstreams from outside.
//!
//! Series are looked up once, when an upstream or an address begins, and taken away with its last holder:
//! a call costs no look-up, and what is gone leaves nothing behind.

use std::collections::HashMap;
use std::fmt;
use std::fmt::Write;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use prometheus_client::registry::Unit;

use crate::gateway::upstream::outcome::Outcome;
use crate::gateway::upstream::status::AddressState;
use crate::names::UpstreamId;

/// In seconds. The standard asks for 0.5, the Da Vinci CRD guide for 5 or 10.
const BUCKETS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

impl EncodeLabelValue for AddressState {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        encoder.write_str(self.name())
    }
}

/// Whether an address answered well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Went {
    Passed,
    Failed,
}

impl Went {
    const ALL: [Self; 2] = [Self::Passed, Self::Failed];
}

impl EncodeLabelValue for Went {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        encoder.write_str(match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
        })
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Whose {
    upstream: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Came {
    upstream: String,
    outcome: Outcome,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Stood {
    upstream: String,
    address: String,
    state: AddressState,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Fared {
    upstream: String,
    address: String,
    outcome: Went,
}

/// `hookgate_upstream_…`: calls, seconds, in flight and repeats of each upstream; state, transitions, calls
/// and checks of each of its addresses. Clones are the same families.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Families>);

#[derive(Debug)]
struct Families {
    calls: Family<Came, Counter>,
    seconds: Family<Whose, Histogram, fn() -> Histogram>,
    in_flight: Family<Whose, Gauge>,
    repeats: Family<Whose, Counter>,
    states: Family<Stood, Gauge>,
    transitions: Family<Stood, Counter>,
    address_calls: Family<Fared, Counter>,
    checks: Family<Fared, Counter>,
    /// How many hold the series of an upstream (without an address) or of an address.
    holders: Mutex<HashMap<(String, Option<String>), usize>>,
}

impl Metrics {
    /// Makes them known to `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let all = Families::new();
        registry.register(
            "hookgate_upstream_calls",
            "Calls to an upstream, by outcome",
            all.calls.clone(),
        );
        registry.register_with_unit(
            "hookgate_upstream",
            "How long an upstream took, from the request to the last byte of the answer",
            Unit::Seconds,
            all.seconds.clone(),
        );
        registry.register(
            "hookgate_upstream_in_flight",
            "Calls that an upstream is at work on",
            all.in_flight.clone(),
        );
        registry.register(
            "hookgate_upstream_repeats",
            "Requests that were sent again because an upstream cannot have acted on them",
            all.repeats.clone(),
        );
        registry.register(
            "hookgate_upstream_address_state",
            "Whether an address of an upstream gets calls: 1 for the state that it is in",
            all.states.clone(),
        );
        registry.register(
            "hookgate_upstream_address_transitions",
            "Changes of state of an address of an upstream, by the state entered",
            all.transitions.clone(),
        );
        registry.register(
            "hookgate_upstream_address_calls",
            "Calls to an address of an upstream, as its breaker counts them",
            all.address_calls.clone(),
        );
        registry.register(
            "hookgate_upstream_checks",
            "Questions to an address of an upstream whether it is well",
            all.checks.clone(),
        );
        Self(Arc::new(all))
    }

    /// The metrics of one upstream. There from the start, at 0: a rate over a series that appears with its
    /// first event misses it.
    pub(crate) fn of(&self, upstream: &UpstreamId) -> Gauges {
        let hold = self.hold(upstream.to_string(), None);
        let whose = Whose { upstream: upstream.to_string() };
        Gauges {
            calls: std::array::from_fn(|_| OnceLock::new()),
            seconds: self.0.seconds.get_or_create_owned(&whose),
            in_flight: self.0.in_flight.get_or_create_owned(&whose),
            repeats: self.0.repeats.get_or_create_owned(&whose),
            hold,
        }
    }

    /// The metrics of one address of an upstream.
    pub(crate) fn of_address(&self, upstream: &UpstreamId, address: &str) -> AddressGauges {
        let hold = self.hold(upstream.to_string(), Some(address.to_owned()));
        let stood = |state| stood(upstream.as_str(), address, state);
        let fared = |outcome| fared(upstream.as_str(), address, outcome);
        AddressGauges {
            states: AddressState::ALL.map(|it| self.0.states.get_or_create_owned(&stood(it))),
            transitions: AddressState::ALL
                .map(|it| self.0.transitions.get_or_create_owned(&stood(it))),
            calls: Went::ALL.map(|it| self.0.address_calls.get_or_create_owned(&fared(it))),
            checks: Went::ALL.map(|it| self.0.checks.get_or_create_owned(&fared(it))),
            _hold: hold,
        }
    }

    fn hold(&self, upstream: String, address: Option<String>) -> Hold {
        let key = (upstream, address);
        let mut holders = self.0.holders();
        let count = holders.entry(key.clone()).or_default();
        *count = count.saturating_add(1);
        drop(holders);
        Hold { families: Arc::clone(&self.0), key }
    }
}

fn stood(upstream: &str, address: &str, state: AddressState) -> Stood {
    Stood { upstream: upstream.to_owned(), address: address.to_owned(), state }
}

fn fared(upstream: &str, address: &str, outcome: Went) -> Fared {
    Fared { upstream: upstream.to_owned(), address: address.to_owned(), outcome }
}

impl Families {
    fn new() -> Self {
        Self {
            calls: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            in_flight: Family::default(),
            repeats: Family::default(),
            states: Family::default(),
            transitions: Family::default(),
            address_calls: Family::default(),
            checks: Family::default(),
            holders: Mutex::default(),
        }
    }

    fn holders(&self) -> MutexGuard<'_, HashMap<(String, Option<String>), usize>> {
        // Whoever panicked has left a count that is one too high at worst.
        self.holders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forget_upstream(&self, upstream: &str) {
        let whose = Whose { upstream: upstream.to_owned() };
        for outcome in Outcome::ALL {
            self.calls.remove(&Came { upstream: upstream.to_owned(), outcome });
        }
        self.seconds.remove(&whose);
        self.in_flight.remove(&whose);
        self.repeats.remove(&whose);
    }

    fn forget_address(&self, upstream: &str, address: &str) {
        for state in AddressState::ALL {
            let stood = stood(upstream, address, state);
            self.states.remove(&stood);
            self.transitions.remove(&stood);
        }
        for outcome in Went::ALL {
            let fared = fared(upstream, address, outcome);
            self.address_calls.remove(&fared);
            self.checks.remove(&fared);
        }
    }
}

/// Keeps series alive: they go with the last of those who hold the same.
#[derive(Debug)]
struct Hold {
    families: Arc<Families>,
    key: (String, Option<String>),
}

impl Drop for Hold {
    fn drop(&mut self) {
        // Under the lock, so that nobody begins to hold what is being taken away.
        let mut holders = self.families.holders();
        let Some(count) = holders.get_mut(&self.key) else { return };
        *count = count.saturating_sub(1);
        if *count > 0 {
            return;
        }
        holders.remove(&self.key);
        let (upstream, address) = &self.key;
        match address {
            Some(address) => self.families.forget_address(upstream, address),
            None => self.families.forget_upstream(upstream),
        }
    }
}

/// The metrics of one upstream.
#[derive(Debug)]
pub(crate) struct Gauges {
    calls: [OnceLock<Counter>; Outcome::ALL.len()],
    seconds: Histogram,
    in_flight: Gauge,
    repeats: Counter,
    hold: Hold,
}

impl Gauges {
    pub(crate) fn count(&self, outcome: Outcome) {
        let Some(counter) = self.calls.get(outcome as usize) else { return };
        let counter = counter.get_or_init(|| {
            let upstream = self.hold.key.0.clone();
            self.hold.families.calls.get_or_create_owned(&Came { upstream, outcome })
        });
        counter.inc();
    }

    pub(crate) fn repeated(&self) {
        self.repeats.inc();
    }

    pub(crate) fn took(&self, time: Duration) {
        self.seconds.observe(time.as_secs_f64());
    }

    /// Counts a call as under way until it is finished or dropped.
    pub(crate) fn begin(&self) -> UnderWay<'_> {
        self.in_flight.inc();
        UnderWay { gauges: self, outcome: Outcome::Abandoned }
    }
}

/// A call that is under way. Dropped, it is counted as what it has come to.
#[derive(Debug)]
pub(crate) struct UnderWay<'a> {
    gauges: &'a Gauges,
    outcome: Outcome,
}

impl UnderWay<'_> {
    pub(crate) fn finish(mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.gauges.in_flight.dec();
        self.gauges.count(self.outcome);
    }
}

/// The metrics of one address.
#[derive(Debug)]
pub(crate) struct AddressGauges {
    states: [Gauge; AddressState::ALL.len()],
    transitions: [Counter; AddressState::ALL.len()],
    calls: [Counter; Went::ALL.len()],
    checks: [Counter; Went::ALL.len()],
    _hold: Hold,
}

impl AddressGauges {
    /// It is in this state from now on.
    pub(crate) fn stands(&self, state: AddressState) {
        for (gauge, its) in self.states.iter().zip(AddressState::ALL) {
            gauge.set(i64::from(its == state));
        }
    }

    /// It has entered this state.
    pub(crate) fn entered(&self, state: AddressState) {
        self.stands(state);
        if let Some(counter) = self.transitions.get(state as usize) {
            counter.inc();
        }
    }

    pub(crate) fn called(&self, went: Went) {
        if let Some(counter) = self.calls.get(went as usize) {
            counter.inc();
        }
    }

    pub(crate) fn checked(&self, went: Went) {
        if let Some(counter) = self.checks.get(went as usize) {
            counter.inc();
        }
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text;

    use super::*;

    #[test]
    fn series_go_with_their_last_holder() {
        let mut registry = Registry::default();
        let metrics = Metrics::register(&mut registry);
        let shown = || {
            let mut out = String::new();
            text::encode(&mut out, &registry).unwrap();
            out
        };
        let id = UpstreamId::new("legacy").unwrap();
        let (first, second) = (metrics.of(&id), metrics.of(&id));
        first.count(Outcome::Success);
        second.count(Outcome::Success);
        let address = metrics.of_address(&id, "10.0.0.1:80");
        let same = metrics.of_address(&id, "10.0.0.1:80");
        let other = metrics.of_address(&id, "10.0.0.2:80");
        address.entered(AddressState::Open);
        same.called(Went::Failed);
        other.stands(AddressState::Closed);
        let text = shown();
        for line in [
            "hookgate_upstream_calls_total{upstream=\"legacy\",outcome=\"success\"} 2",
            "hookgate_upstream_address_state{upstream=\"legacy\",address=\"10.0.0.1:80\",state=\"open\"} 1",
            "hookgate_upstream_address_state{upstream=\"legacy\",address=\"10.0.0.1:80\",state=\"closed\"} 0",
            "hookgate_upstream_address_transitions_total{upstream=\"legacy\",address=\"10.0.0.1:80\",state=\"open\"} 1",
            "hookgate_upstream_address_calls_total{upstream=\"legacy\",address=\"10.0.0.1:80\",outcome=\"failed\"} 1",
            "hookgate_upstream_checks_total{upstream=\"legacy\",address=\"10.0.0.1:80\",outcome=\"passed\"} 0",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        drop((first, address));
        assert_eq!(shown(), text, "somebody else holds them");
        drop(same);
        assert!(!shown().contains("10.0.0.1"));
        assert!(shown().contains("10.0.0.2"));
        drop((second, other));
        assert!(!shown().contains("legacy"), "{}", shown());
    }
}
