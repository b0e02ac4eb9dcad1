//! Who is near a limit, for whoever looks after the gateway.
//!
//! Buckets do not know whose they are. So whoever has used half of what a bucket holds is noted here: the usual call
//! costs one comparison, and what is held is bounded, whoever comes. Of more than can be noted, those that come most
//! often stay.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use moka::sync::Cache;

use crate::gateway::limit::buckets::{Answer, Buckets, Left, Wait};
use crate::gateway::limit::metrics::Limit;
use crate::gateway::limit::question::Question;
use crate::gateway::limit::subject::Subject;
use crate::names::{ClientId, ServiceId};

/// How many are noted, over all kinds.
const NOTED: u64 = 512;

/// Somebody who has used half of a limit, or more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Near {
    /// Which limit.
    pub limit: Limit,
    /// Whose bucket.
    pub who: Who,
    /// What it holds when it is full.
    pub burst: u32,
    /// What it holds now.
    pub left: u32,
    /// How long until it holds one, where it holds none.
    pub wait: Option<Duration>,
}

impl Near {
    /// How much of it is used, in percent.
    pub fn used_percent(&self) -> u8 {
        let used = u64::from(self.burst.saturating_sub(self.left)).saturating_mul(100);
        let percent = used.checked_div(u64::from(self.burst)).unwrap_or(100);
        u8::try_from(percent).unwrap_or(100).min(100)
    }
}

/// Whose bucket it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Who {
    /// An IPv4 address, or the first one of an IPv6 /64.
    Address(IpAddr),
    /// A client.
    Client(ClientId),
    /// A client's calls to one service, or to discovery.
    Service(ClientId, Option<ServiceId>),
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address @ IpAddr::V4(_)) => address.fmt(f),
            Self::Address(address @ IpAddr::V6(_)) => write!(f, "{address}/64"),
            Self::Client(client) => client.fmt(f),
            Self::Service(client, Some(service)) => write!(f, "{client} → {service}"),
            Self::Service(client, None) => write!(f, "{client} → discovery"),
        }
    }
}

impl Who {
    fn of(subject: Subject<'_>) -> Self {
        match subject {
            Subject::Address(address) => Self::Address(address),
            Subject::Client(client) => Self::Client(client.clone()),
            Subject::Service(client, service) => Self::Service(client.clone(), service.cloned()),
        }
    }

    const fn subject(&self) -> Subject<'_> {
        match self {
            Self::Address(address) => Subject::Address(*address),
            Self::Client(client) => Subject::Client(client),
            Self::Service(client, service) => Subject::Service(client, service.as_ref()),
        }
    }

    /// The client whose own figures may hold, where it is one.
    pub(crate) const fn client(&self) -> Option<&ClientId> {
        match self {
            Self::Address(_) => None,
            Self::Client(client) | Self::Service(client, _) => Some(client),
        }
    }
}

/// Those who were near when they came last. Clones share one memory.
#[derive(Clone, Debug)]
pub(crate) struct Noted(Cache<(Limit, Who), ()>);

impl Default for Noted {
    fn default() -> Self {
        Self(Cache::new(NOTED))
    }
}

impl Noted {
    /// Notes who asked, where the answer says that half is used.
    pub(crate) fn note(&self, question: &Question<'_>, answer: Answer) {
        let burst = question.buckets.quota().burst_size().get();
        let near = match answer {
            Ok(Left(left)) => is_near(left, burst),
            Err(Wait(_)) => true,
        };
        if near {
            let who = (question.limit, Who::of(question.subject));
            if !self.0.contains_key(&who) {
                self.0.insert(who, ());
            }
        }
    }

    /// Those who still are near, the nearest first. Others are forgotten.
    pub(crate) fn nearest<'a>(
        &self,
        at_most: usize,
        buckets: impl Fn(Limit, &Who) -> Option<&'a Arc<Buckets>>,
    ) -> Vec<Near> {
        let mut found = Vec::new();
        for (noted, ()) in &self.0 {
            let (limit, who) = noted.as_ref();
            let Some(buckets) = buckets(*limit, who) else { continue };
            let burst = buckets.quota().burst_size().get();
            // A look says what a draw would leave.
            let (left, wait) = match buckets.look(&who.subject()) {
                Ok(Left(left)) => (left.saturating_add(1), None),
                Err(Wait(wait)) => (0, Some(wait)),
            };
            if is_near(left, burst) {
                found.push(Near { limit: *limit, who: who.clone(), burst, left, wait });
            } else {
                self.0.invalidate(noted.as_ref());
            }
        }
        found.sort_by_key(|near| (u8::MAX - near.used_percent(), std::cmp::Reverse(near.wait)));
        found.truncate(at_most);
        found
    }
}

const fn is_near(left: u32, burst: u32) -> bool {
    left <= burst / 2
}
