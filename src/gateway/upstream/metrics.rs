//! What can be seen of the upstreams from outside.

use std::fmt;
use std::fmt::Write;
use std::time::Duration;

use http::StatusCode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use prometheus_client::registry::Unit;

use crate::gateway::upstream::error::{Stage, UpstreamError};
use crate::names::UpstreamId;

/// In seconds. The standard asks for 0.5, the Da Vinci CRD guide for 5 or 10.
const BUCKETS: [f64; 12] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// How a call came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    Success,
    NotModified,
    ClientError,
    ServerError,
    Misdirected,
    GatewayError,
    Overloaded,
    Unreachable,
    Tls,
    LateConnect,
    LateHead,
    LateBody,
    Broken,
    NotHttp,
    TooLarge,
    Encoded,
    Redirect,
    /// Whoever asked did not wait for the answer.
    Abandoned,
}

impl Outcome {
    pub(crate) fn of_status(status: StatusCode) -> Self {
        if status.is_success() {
            Self::Success
        } else if status.is_redirection() {
            Self::NotModified
        } else if status.is_client_error() {
            Self::ClientError
        } else {
            Self::ServerError
        }
    }

    pub(crate) const fn of_error(error: &UpstreamError) -> Self {
        match error {
            UpstreamError::Unknown(_) | UpstreamError::Unaddressable => Self::Misdirected,
            UpstreamError::Entropy(_) | UpstreamError::Unsigned(_) => Self::GatewayError,
            UpstreamError::Overloaded => Self::Overloaded,
            UpstreamError::Unreachable(_) => Self::Unreachable,
            UpstreamError::Tls(_) => Self::Tls,
            UpstreamError::Late(Stage::Connect) => Self::LateConnect,
            UpstreamError::Late(Stage::Head) => Self::LateHead,
            UpstreamError::Late(Stage::Body) => Self::LateBody,
            UpstreamError::Broken(_) => Self::Broken,
            UpstreamError::NotHttp(_) => Self::NotHttp,
            UpstreamError::TooLarge => Self::TooLarge,
            UpstreamError::Encoded(_) => Self::Encoded,
            UpstreamError::Redirect(_) => Self::Redirect,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::NotModified => "not_modified",
            Self::ClientError => "client_error",
            Self::ServerError => "server_error",
            Self::Misdirected => "misdirected",
            Self::GatewayError => "gateway_error",
            Self::Overloaded => "overloaded",
            Self::Unreachable => "unreachable",
            Self::Tls => "tls",
            Self::LateConnect => "late_connect",
            Self::LateHead => "late_head",
            Self::LateBody => "late_body",
            Self::Broken => "broken",
            Self::NotHttp => "not_http",
            Self::TooLarge => "too_large",
            Self::Encoded => "encoded",
            Self::Redirect => "redirect",
            Self::Abandoned => "abandoned",
        }
    }
}

impl EncodeLabelValue for Outcome {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        encoder.write_str(self.name())
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

/// `hookgate_upstream_calls_total{upstream, outcome}`, `hookgate_upstream_seconds{upstream}`,
/// `hookgate_upstream_in_flight{upstream}` and `hookgate_upstream_repeats_total{upstream}`.
#[derive(Clone, Debug)]
pub struct Metrics {
    calls: Family<Came, Counter>,
    seconds: Family<Whose, Histogram, fn() -> Histogram>,
    in_flight: Family<Whose, Gauge>,
    repeats: Family<Whose, Counter>,
}

impl Metrics {
    /// Makes them known to `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self {
            calls: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(BUCKETS)),
            in_flight: Family::default(),
            repeats: Family::default(),
        };
        registry.register(
            "hookgate_upstream_calls",
            "Calls to an upstream, by outcome",
            metrics.calls.clone(),
        );
        registry.register_with_unit(
            "hookgate_upstream",
            "How long an upstream took, from the request to the last byte of the answer",
            Unit::Seconds,
            metrics.seconds.clone(),
        );
        registry.register(
            "hookgate_upstream_in_flight",
            "Calls that an upstream is at work on",
            metrics.in_flight.clone(),
        );
        registry.register(
            "hookgate_upstream_repeats",
            "Requests that were sent again because an upstream cannot have acted on them",
            metrics.repeats.clone(),
        );
        metrics
    }

    /// The metrics of one upstream.
    pub(crate) fn of(&self, upstream: &UpstreamId) -> Gauges {
        let gauges = Gauges { all: self.clone(), upstream: upstream.to_string() };
        // There from the start, at 0: a rate over a series that appears with its first event misses it.
        let _ = self.in_flight.get_or_create(&gauges.whose());
        let _ = self.repeats.get_or_create(&gauges.whose());
        gauges
    }
}

/// The metrics of one upstream.
#[derive(Debug)]
pub(crate) struct Gauges {
    all: Metrics,
    upstream: String,
}

impl Gauges {
    fn whose(&self) -> Whose {
        Whose { upstream: self.upstream.clone() }
    }

    pub(crate) fn count(&self, outcome: Outcome) {
        let came = Came { upstream: self.upstream.clone(), outcome };
        self.all.calls.get_or_create(&came).inc();
    }

    pub(crate) fn repeated(&self) {
        self.all.repeats.get_or_create(&self.whose()).inc();
    }

    pub(crate) fn took(&self, time: Duration) {
        self.all.seconds.get_or_create(&self.whose()).observe(time.as_secs_f64());
    }

    /// Counts a call as under way until it is finished or dropped.
    pub(crate) fn begin(&self) -> UnderWay<'_> {
        self.all.in_flight.get_or_create(&self.whose()).inc();
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
        self.gauges.all.in_flight.get_or_create(&self.gauges.whose()).dec();
        self.gauges.count(self.outcome);
    }
}
