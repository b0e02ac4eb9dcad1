//! One address of an upstream: how it is reached, and how it is.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::{Clock, UnixTime};
use crate::entropy::Entropy;
use crate::gateway::upstream::breaker::{Admission, Breaker, Change, Phase, Ticket, Verdict};
use crate::gateway::upstream::exchange::Connections;
use crate::gateway::upstream::metrics::{AddressGauges, Went};
use crate::gateway::upstream::outcome::Outcome;
use crate::gateway::upstream::recent::Recent;
use crate::gateway::upstream::settings::{Health, Settings};
use crate::gateway::upstream::status::{AddressState, AddressStatus};
use crate::names::UpstreamId;

/// All of its share, in thousandths.
pub(crate) const WHOLE: u16 = 1000;
/// What an address gets at first that has to warm up.
const LEAST: u16 = 100;

/// Both clocks at once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moment {
    pub(crate) watch: Duration,
    pub(crate) wall: UnixTime,
}

impl Moment {
    pub(crate) fn of(clock: &dyn Clock) -> Self {
        Self { watch: clock.monotonic(), wall: clock.now() }
    }
}

/// Which of the configured names an address came from, and what it is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The place of the name in the configuration.
    pub(crate) name: usize,
    /// What the name was found to mean; nothing where the name itself is dialled.
    pub(crate) found: Option<SocketAddr>,
}

/// Whether a call may be made there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    /// Yes; it has this share, in thousandths, of what it would get.
    Free(Ticket, u16),
    /// One call, to try.
    Due,
    /// Not for that long.
    Shut(Duration),
}

/// Where calls go.
#[derive(Debug)]
pub(crate) struct Address {
    upstream: UpstreamId,
    label: String,
    origin: Origin,
    pub(crate) connections: Connections,
    in_flight: AtomicUsize,
    slow_start: Duration,
    health: Option<Health>,
    gauges: AddressGauges,
    book: Mutex<Book>,
}

/// What is known about it.
#[derive(Debug)]
struct Book {
    breaker: Breaker,
    recent: Recent,
    /// Whether it answers the questions after its health well, and how many answers in a row say otherwise.
    well: bool,
    otherwise: u32,
    /// Since when it has been warming up.
    warming: Option<Duration>,
    state: AddressState,
    since: UnixTime,
}

impl Address {
    /// Closed, and believed to be well. One that comes later than the others has to `warm_up`.
    pub(crate) fn new(
        settings: &Settings,
        (label, origin): (String, Origin),
        connections: Connections,
        gauges: AddressGauges,
        now: Moment,
        warm_up: bool,
    ) -> Self {
        let slow_start = settings.slow_start.get();
        let book = Book {
            breaker: Breaker::new(&settings.breaker),
            recent: Recent::new(),
            well: true,
            otherwise: 0,
            warming: (warm_up && !slow_start.is_zero()).then_some(now.watch),
            state: AddressState::Closed,
            since: now.wall,
        };
        Self {
            upstream: settings.id.clone(),
            label,
            origin,
            connections,
            in_flight: AtomicUsize::new(0),
            slow_start,
            health: settings.health.clone(),
            gauges,
            book: Mutex::new(book),
        }
    }

    /// Has its state shown from now on. What was made of a configuration that is not taken up never is.
    pub(crate) fn show(&self) {
        self.gauges.stands(self.book().state);
    }

    pub(crate) const fn origin(&self) -> &Origin {
        &self.origin
    }

    pub(crate) fn label(&self) -> &str {
        &self.label
    }

    pub(crate) fn load(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// A call goes there.
    pub(crate) fn enter(&self) {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
    }

    /// It has ended.
    pub(crate) fn leave(&self) {
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
    }

    /// Whether it is well, and whether a call may be made.
    pub(crate) fn view(&self, now: Duration) -> (bool, View) {
        let mut book = self.book();
        let view = match book.breaker.admission(now) {
            Admission::Free(ticket) => View::Free(ticket, self.share(&mut book, now)),
            Admission::Due => View::Due,
            Admission::Shut(pause) => View::Shut(pause),
        };
        (book.well, view)
    }

    /// Begins the one call that tries, where it is due.
    pub(crate) fn begin_trial(&self, now: Moment) -> Option<Ticket> {
        let mut book = self.book();
        let ticket = book.breaker.begin_trial(now.watch)?;
        self.settle(&mut book, now.wall);
        Some(ticket)
    }

    /// A call there has ended, `took` after it began.
    pub(crate) fn finish(
        &self,
        ticket: Ticket,
        (verdict, outcome): (Verdict, Outcome),
        took: Duration,
        now: Moment,
        entropy: &dyn Entropy,
    ) {
        let mut book = self.book();
        match verdict {
            Verdict::Passed => {
                book.recent.answered(now.watch, took);
                self.gauges.called(Went::Passed);
            }
            Verdict::Failed => {
                book.recent.failed(now.watch, now.wall, outcome.name());
                self.gauges.called(Went::Failed);
            }
            Verdict::Neutral => {}
        }
        let change = book.breaker.finish(ticket, verdict, now.watch, entropy);
        if change == Some(Change::Closed) {
            self.warm_up(&mut book, now.watch);
        }
        self.settle(&mut book, now.wall);
        let phase = book.breaker.phase();
        drop(book);
        self.tell(change, phase, outcome, now);
    }

    fn tell(&self, change: Option<Change>, phase: Phase, outcome: Outcome, now: Moment) {
        let (upstream, address) = (&self.upstream, &self.label);
        match (change, phase) {
            (Some(Change::Opened), Phase::Open(until)) => {
                let pause = until.saturating_sub(now.watch);
                tracing::warn!(
                    %upstream, address, last = outcome.name(), pause_ms = pause.as_millis(),
                    "an upstream's address has failed and is left alone"
                );
            }
            (Some(Change::Closed), _) => {
                tracing::info!(%upstream, address, "an upstream's address gets calls again");
            }
            (Some(Change::Opened), Phase::Closed | Phase::HalfOpen) | (None, _) => {}
        }
    }

    /// It was asked whether it is well, and answered well or not.
    pub(crate) fn answered(&self, well: bool, why: &str, now: Moment) {
        let Some(health) = &self.health else { return };
        self.gauges.checked(if well { Went::Passed } else { Went::Failed });
        let mut book = self.book();
        if well == book.well {
            book.otherwise = 0;
            return;
        }
        book.otherwise = book.otherwise.saturating_add(1);
        let enough = if well { health.healthy_after } else { health.unhealthy_after };
        if book.otherwise < enough {
            return;
        }
        book.well = well;
        book.otherwise = 0;
        if well {
            self.warm_up(&mut book, now.watch);
        }
        self.settle(&mut book, now.wall);
        drop(book);
        let (upstream, address) = (&self.upstream, &self.label);
        if well {
            tracing::info!(%upstream, address, "an upstream's address is well again");
        } else {
            tracing::warn!(%upstream, address, why, "an upstream's address is not well");
        }
    }

    pub(crate) fn status(&self, now: Moment) -> AddressStatus {
        let mut book = self.book();
        let digest = book.recent.digest(now.watch);
        let next_try = match book.breaker.phase() {
            Phase::Open(until) => Some(now.wall.plus(until.saturating_sub(now.watch))),
            Phase::Closed | Phase::HalfOpen => None,
        };
        AddressStatus {
            address: self.label.clone(),
            state: book.state,
            since: book.since,
            next_try,
            in_flight: self.load(),
            p50: digest.p50,
            p95: digest.p95,
            calls: digest.calls,
            failures: digest.failures,
            last_error: digest.last_error,
        }
    }

    fn warm_up(&self, book: &mut Book, now: Duration) {
        book.warming = (!self.slow_start.is_zero()).then_some(now);
    }

    /// Its share while it warms up: from a tenth to all of it, evenly.
    fn share(&self, book: &mut Book, now: Duration) -> u16 {
        let Some(since) = book.warming else { return WHOLE };
        let (past, all) = (now.saturating_sub(since).as_millis(), self.slow_start.as_millis());
        if past >= all {
            book.warming = None;
            return WHOLE;
        }
        let more = past.saturating_mul((WHOLE - LEAST).into()) / all.max(1);
        LEAST.saturating_add(u16::try_from(more).unwrap_or(0))
    }

    /// Notes the state that the breaker and the health come to.
    fn settle(&self, book: &mut Book, now: UnixTime) {
        let state = match (book.breaker.phase(), book.well) {
            (Phase::Open(_), _) => AddressState::Open,
            (Phase::HalfOpen, _) => AddressState::HalfOpen,
            (Phase::Closed, true) => AddressState::Closed,
            (Phase::Closed, false) => AddressState::Unhealthy,
        };
        if state != book.state {
            book.state = state;
            book.since = now;
            self.gauges.entered(state);
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        // Nothing in here panics half way through a change.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
