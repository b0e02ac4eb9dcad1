//! The last hour in memory, minute by minute, for whoever has no Prometheus at hand.
//!
//! What is held is bounded: sixty minutes, the reasons that the program knows, and a few hundred services.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::StatusCode;

use crate::clock::{Clock, UnixTime};
use crate::names::ServiceId;

/// How many minutes are told apart, the one that goes on included.
pub const MINUTES: usize = 60;

/// Services that are told apart in a minute. With `id = "*"` a caller chooses their names.
const SERVICES: usize = 256;

/// What of one request is remembered.
#[derive(Clone, Copy, Debug)]
pub struct Happened<'a> {
    /// How it was answered.
    pub status: StatusCode,
    /// The exact reason of a refusal.
    pub reason: Option<&'static str>,
    /// Which service it was for, where that is known.
    pub service: Option<&'a ServiceId>,
    /// How long the upstream took; nothing where it was not called.
    pub upstream: Option<Duration>,
    /// How many links went out with the answer.
    pub minted: u64,
    /// Whether a link was opened for the first time.
    pub opened: bool,
}

/// What became of links.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Links {
    /// They went out.
    pub minted: u64,
    /// They were opened for the first time.
    pub opened: u64,
    /// Somebody came too late.
    pub expired: u64,
    /// Somebody came with a link that another browser had opened.
    pub refused_twice: u64,
}

/// How one service fared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fared {
    /// Requests for it.
    pub requests: u64,
    /// Those that reached its upstream.
    pub calls: u64,
    /// Those that were answered with a server error, whoever made it.
    pub errors: u64,
    /// How long the upstream took for all calls together.
    pub upstream: Duration,
}

impl Fared {
    /// How long the upstream took on average; nothing where it was not called.
    pub fn mean_upstream(&self) -> Option<Duration> {
        u32::try_from(self.calls).ok().and_then(|calls| self.upstream.checked_div(calls))
    }
}

/// One minute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Minute {
    /// When it began.
    pub began: UnixTime,
    /// How many requests ended in it.
    pub requests: u64,
    /// Refusals, by exact reason.
    pub refusals: BTreeMap<&'static str, u64>,
    /// Links.
    pub links: Links,
    /// Services. Of those that are too many to be told apart nothing is here.
    pub services: BTreeMap<ServiceId, Fared>,
}

/// The last hour. Clones share one memory.
#[derive(Clone, Debug)]
pub struct History {
    clock: Arc<dyn Clock>,
    minutes: Arc<Mutex<VecDeque<(u64, Tally)>>>,
}

#[derive(Clone, Debug, Default)]
struct Tally {
    requests: u64,
    refusals: BTreeMap<&'static str, u64>,
    links: Links,
    services: BTreeMap<ServiceId, Fared>,
}

impl History {
    /// An empty one. Minutes are those of `clock`'s stop watch: setting the wall clock changes nothing.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, minutes: Arc::default() }
    }

    /// Remembers a request that ends now.
    pub fn note(&self, happened: &Happened<'_>) {
        let present = minute_of(self.clock.monotonic());
        let mut minutes = self.lock();
        if minutes.back().is_none_or(|(minute, _)| *minute < present) {
            minutes.push_back((present, Tally::default()));
            while minutes.front().is_some_and(|(minute, _)| is_over(*minute, present)) {
                minutes.pop_front();
            }
        }
        if let Some((_, tally)) = minutes.back_mut() {
            tally.add(happened);
        }
    }

    /// The minutes of the last hour in which something ended, the oldest first.
    pub fn minutes(&self) -> Vec<Minute> {
        let (now, watch) = (self.clock.now(), self.clock.monotonic());
        let present = minute_of(watch);
        let minutes = self.lock();
        let of_the_hour = minutes.iter().filter(|(minute, _)| !is_over(*minute, present));
        let told = of_the_hour.map(|(minute, tally)| {
            let ago = watch.saturating_sub(Duration::from_secs(minute.saturating_mul(60)));
            tally.clone().at(now.minus(ago))
        });
        told.collect()
    }

    /// All of the last hour together, as if it were one minute that began with the oldest.
    pub fn hour(&self) -> Minute {
        let minutes = self.minutes();
        let began = minutes.first().map_or_else(|| self.clock.now(), |minute| minute.began);
        let mut whole = Tally::default().at(began);
        for minute in minutes {
            whole.requests = whole.requests.saturating_add(minute.requests);
            for (reason, count) in minute.refusals {
                add(whole.refusals.entry(reason).or_default(), count);
            }
            add(&mut whole.links.minted, minute.links.minted);
            add(&mut whole.links.opened, minute.links.opened);
            add(&mut whole.links.expired, minute.links.expired);
            add(&mut whole.links.refused_twice, minute.links.refused_twice);
            for (service, fared) in minute.services {
                let sum = whole.services.entry(service).or_default();
                add(&mut sum.requests, fared.requests);
                add(&mut sum.calls, fared.calls);
                add(&mut sum.errors, fared.errors);
                sum.upstream = sum.upstream.saturating_add(fared.upstream);
            }
        }
        whole
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(u64, Tally)>> {
        // Whoever panicked has left at worst a count too few.
        self.minutes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Tally {
    fn add(&mut self, happened: &Happened<'_>) {
        let count = |yes: bool| u64::from(yes);
        add(&mut self.requests, 1);
        if let Some(reason) = happened.reason {
            add(self.refusals.entry(reason).or_default(), 1);
        }
        add(&mut self.links.minted, happened.minted);
        add(&mut self.links.opened, count(happened.opened));
        add(&mut self.links.expired, count(happened.reason == Some("link-expired")));
        add(&mut self.links.refused_twice, count(happened.reason == Some("link-spent")));
        let Some(service) = happened.service else { return };
        if self.services.len() >= SERVICES && !self.services.contains_key(service) {
            return;
        }
        let fared = self.services.entry(service.clone()).or_default();
        add(&mut fared.requests, 1);
        add(&mut fared.calls, count(happened.upstream.is_some()));
        add(&mut fared.errors, count(happened.status.is_server_error()));
        fared.upstream = fared.upstream.saturating_add(happened.upstream.unwrap_or_default());
    }

    fn at(self, began: UnixTime) -> Minute {
        let Self { requests, refusals, links, services } = self;
        Minute { began, requests, refusals, links, services }
    }
}

fn add(to: &mut u64, more: u64) {
    *to = to.saturating_add(more);
}

const fn minute_of(watch: Duration) -> u64 {
    watch.as_secs() / 60
}

const fn is_over(minute: u64, present: u64) -> bool {
    minute.saturating_add(MINUTES as u64) <= present
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    const NOW: UnixTime = UnixTime::from_secs(1_795_456_800);

    fn happened(reason: Option<&'static str>) -> Happened<'static> {
        Happened {
            status: StatusCode::OK,
            reason,
            service: None,
            upstream: None,
            minted: 0,
            opened: false,
        }
    }

    fn history() -> (ManualClock, History) {
        let clock = ManualClock::new(NOW);
        (clock.clone(), History::new(Arc::new(clock)))
    }

    #[test]
    fn remembers_an_hour_and_no_more() {
        let (clock, history) = history();
        assert_eq!(history.hour(), Tally::default().at(NOW));
        for minute in 0..100 {
            history.note(&happened(Some(if minute < 45 { "expired" } else { "replayed" })));
            history.note(&happened(None));
            clock.advance(Duration::from_secs(60));
        }
        // The present minute has nothing yet: the 59 before it are those from the 41st on.
        let minutes = history.minutes();
        assert_eq!(minutes.len(), MINUTES - 1);
        assert_eq!(minutes[0].began, NOW.plus(Duration::from_secs(41 * 60)));
        let hour = history.hour();
        assert_eq!(hour.requests, 118);
        assert_eq!(hour.refusals, BTreeMap::from([("expired", 4), ("replayed", 55)]));
        clock.advance(Duration::from_secs(3600));
        assert!(history.minutes().is_empty());
        assert!(history.lock().len() <= MINUTES, "memory is bounded");
    }

    #[test]
    fn a_minute_lasts_as_long_as_the_stop_watch_says() {
        let (clock, history) = history();
        clock.advance(Duration::from_secs(59));
        history.note(&happened(None));
        clock.set(UnixTime::from_secs(1));
        history.note(&happened(None));
        assert_eq!(history.minutes().len(), 1);
        clock.advance(Duration::from_secs(1));
        history.note(&happened(None));
        assert_eq!(history.minutes().len(), 2);
    }

    #[test]
    fn tells_links_and_services_apart() {
        let (_clock, history) = history();
        let service = ServiceId::new("patient-greeting").unwrap();
        let call = Happened {
            status: StatusCode::BAD_GATEWAY,
            service: Some(&service),
            upstream: Some(Duration::from_millis(30)),
            minted: 3,
            ..happened(Some("upstream-broken"))
        };
        history.note(&call);
        history.note(&Happened {
            status: StatusCode::OK,
            upstream: Some(Duration::from_millis(10)),
            ..call
        });
        history.note(&Happened { upstream: None, minted: 0, reason: Some("expired"), ..call });
        history.note(&Happened { opened: true, ..happened(None) });
        history.note(&happened(Some("link-spent")));
        history.note(&happened(Some("link-expired")));
        let hour = history.hour();
        let links = Links { minted: 6, opened: 1, expired: 1, refused_twice: 1 };
        assert_eq!(hour.links, links);
        let fared = hour.services[&service];
        assert_eq!((fared.requests, fared.calls, fared.errors), (3, 2, 2));
        assert_eq!(fared.mean_upstream(), Some(Duration::from_millis(20)));
        assert_eq!(Fared::default().mean_upstream(), None);
    }

    #[test]
    fn names_that_callers_choose_take_no_more_than_their_room() {
        let (_clock, history) = history();
        for number in 0..SERVICES + 100 {
            let service = ServiceId::new(&format!("service-{number}")).unwrap();
            history.note(&Happened { service: Some(&service), ..happened(None) });
        }
        let hour = history.hour();
        assert_eq!(hour.services.len(), SERVICES);
        assert_eq!(hour.requests, u64::try_from(SERVICES + 100).unwrap());
    }
}
