//! How upstreams are, for whoever looks after them.

use std::time::Duration;

use crate::clock::UnixTime;
use crate::names::UpstreamId;

/// Whether an address gets calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AddressState {
    /// It gets calls.
    Closed,
    /// It has failed and is left alone until its pause is over.
    Open,
    /// One call is under way that decides whether it gets calls again.
    HalfOpen,
    /// It does not answer `upstream.health` well, and gets calls only where no other address does.
    Unhealthy,
}

impl AddressState {
    /// All there are.
    pub const ALL: [Self; 4] = [Self::Closed, Self::Open, Self::HalfOpen, Self::Unhealthy];

    /// One word for it, as metrics have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// One upstream.
#[derive(Clone, Debug, PartialEq)]
pub struct UpstreamStatus {
    /// Its name in the configuration.
    pub id: UpstreamId,
    /// Its base URL, which holds no credential.
    pub url: String,
    /// Calls that it is at work on.
    pub in_flight: usize,
    /// How many it gets at once.
    pub max_concurrent: usize,
    /// Each address that it is called at.
    pub addresses: Vec<AddressStatus>,
}

/// One address of an upstream.
#[derive(Clone, Debug, PartialEq)]
pub struct AddressStatus {
    /// A host or an IP address, and a port.
    pub address: String,
    /// Whether it gets calls.
    pub state: AddressState,
    /// Since when.
    pub since: UnixTime,
    /// When it is tried again, where it is left alone.
    pub next_try: Option<UnixTime>,
    /// Calls that it is at work on.
    pub in_flight: usize,
    /// What half of the answers of the last minute took at most, roughly. Nothing where there were none.
    pub p50: Option<Duration>,
    /// What 95 of 100 answers of the last minute took at most, roughly.
    pub p95: Option<Duration>,
    /// Calls of the last five minutes.
    pub calls: u64,
    /// How many of them failed: no answer, or a status that `upstream.breaker` counts.
    pub failures: u64,
    /// What failed last, by the word that `hookgate_upstream_calls_total` has for it, and when.
    pub last_error: Option<(UnixTime, &'static str)>,
}
