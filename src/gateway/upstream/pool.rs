//! Which address of an upstream a call goes to.
//!
//! The one with the fewest calls under way, in turn where several have as few. Those that warm up are left
//! out of a part of the choices. An address that failed is tried by one call when its pause is over; one
//! that says that it is not well is called only where no other takes calls: what the operator wrote about
//! its health may be wrong, and must not shut a service that works.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::Instant;

use crate::clock::Clock;
use crate::entropy::{Entropy, draw};
use crate::gateway::upstream::address::{Address, Moment, View, WHOLE};
use crate::gateway::upstream::answer::Measure;
use crate::gateway::upstream::breaker::{Ticket, Verdict};
use crate::gateway::upstream::error::{Stage, UpstreamError};
use crate::gateway::upstream::exchange::{Message, Received};
use crate::gateway::upstream::outcome::Outcome;

/// The addresses of one upstream.
#[derive(Debug)]
pub(crate) struct Pool {
    addresses: ArcSwap<Vec<Arc<Address>>>,
    turn: AtomicUsize,
    /// Statuses that count as no answer.
    failing: Vec<u16>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
}

/// Leave to call one address. What became of the call is told with [`Lease::finish`]; dropped without, the
/// call has told nothing.
#[derive(Debug)]
pub(crate) struct Lease<'a> {
    pool: &'a Pool,
    address: Arc<Address>,
    ticket: Option<Ticket>,
    began: Duration,
}

impl Pool {
    pub(crate) fn new(
        addresses: Vec<Arc<Address>>,
        failing: Vec<u16>,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        let addresses = ArcSwap::from_pointee(addresses);
        Self { addresses, turn: AtomicUsize::new(0), failing, clock, entropy }
    }

    /// Those that are called now.
    pub(crate) fn addresses(&self) -> Arc<Vec<Arc<Address>>> {
        self.addresses.load_full()
    }

    /// From now on these are called. Calls that are under way at others end there.
    pub(crate) fn replace(&self, addresses: Vec<Arc<Address>>) {
        self.addresses.store(Arc::new(addresses));
    }

    pub(crate) fn now(&self) -> Moment {
        Moment::of(self.clock.as_ref())
    }

    /// Whether a call could be made at once.
    ///
    /// # Errors
    /// [`UpstreamError::Open`] where every address is left alone.
    pub(crate) fn admits(&self) -> Result<(), UpstreamError> {
        let now = self.clock.monotonic();
        let mut again = None;
        for address in self.addresses.load().iter() {
            match address.view(now).1 {
                View::Free(..) | View::Due => return Ok(()),
                View::Shut(pause) => again = Some(earlier(again, pause)),
            }
        }
        Err(UpstreamError::Open { again: again.unwrap_or_default() })
    }

    /// Chooses an address.
    ///
    /// # Errors
    /// [`UpstreamError::Open`] where every address is left alone.
    pub(crate) fn lease(&self) -> Result<Lease<'_>, UpstreamError> {
        self.choose(None)
    }

    /// Chooses another address than that of `failed`, one that has no need to be tried if there is any.
    pub(crate) fn lease_other(&self, failed: &Arc<Address>) -> Option<Lease<'_>> {
        self.choose(Some(failed)).ok()
    }

    fn choose(&self, other_than: Option<&Arc<Address>>) -> Result<Lease<'_>, UpstreamError> {
        let now = self.now();
        let addresses = self.addresses.load();
        let start = self.turn.fetch_add(1, Ordering::Relaxed);
        let mut again = None;
        for well in [true, false] {
            let candidates = Candidates { addresses: &addresses, start, well, other_than };
            match self.pick(&candidates, now) {
                Ok((address, ticket)) => return Ok(self.let_in(address, ticket, now)),
                Err(pause) => again = pause.map(|pause| earlier(again, pause)).or(again),
            }
        }
        Err(UpstreamError::Open { again: again.unwrap_or_default() })
    }

    fn let_in(&self, address: &Arc<Address>, ticket: Ticket, now: Moment) -> Lease<'_> {
        address.enter();
        Lease { pool: self, address: Arc::clone(address), ticket: Some(ticket), began: now.watch }
    }

    /// One of `candidates`, or when there will be one.
    fn pick<'a>(
        &self,
        candidates: &Candidates<'a>,
        now: Moment,
    ) -> Result<(&'a Arc<Address>, Ticket), Option<Duration>> {
        let (mut best, mut cold) = (Least::default(), Least::default());
        let (mut due, mut again) = (None, None);
        for (address, view) in candidates.views(now.watch) {
            match view {
                View::Free(ticket, share) if share >= WHOLE || self.falls_within(share) => {
                    best.offer(address, ticket);
                }
                View::Free(ticket, _) => cold.offer(address, ticket),
                // Somebody has to, or it would never come back; not who has met a failure already.
                View::Due if candidates.other_than.is_none() => match address.begin_trial(now) {
                    Some(ticket) => return Ok((address, ticket)),
                    None => again = Some(Duration::ZERO),
                },
                View::Due => due = Some(address),
                View::Shut(pause) => again = Some(earlier(again, pause)),
            }
        }
        let trial = || due.and_then(|it: &Arc<Address>| Some((it, it.begin_trial(now)?)));
        best.chosen().or_else(|| cold.chosen()).or_else(trial).ok_or(again)
    }

    /// True in `share` of a thousand cases. Without randomness nobody has to warm up.
    fn falls_within(&self, share: u16) -> bool {
        let drawn = draw::<4>(self.entropy.as_ref()).map_or(0, u32::from_be_bytes);
        drawn % u32::from(WHOLE) < u32::from(share)
    }
}

fn earlier(one: Option<Duration>, other: Duration) -> Duration {
    one.map_or(other, |one| one.min(other))
}

/// Those that are well or those that are not, in turn, from another start each time.
struct Candidates<'a> {
    addresses: &'a [Arc<Address>],
    start: usize,
    well: bool,
    other_than: Option<&'a Arc<Address>>,
}

impl<'a> Candidates<'a> {
    fn views(&self, now: Duration) -> impl Iterator<Item = (&'a Arc<Address>, View)> {
        let (start, well, other_than) = (self.start, self.well, self.other_than);
        let split = start.checked_rem(self.addresses.len()).unwrap_or(0);
        let (before, from) = self.addresses.split_at_checked(split).unwrap_or_default();
        from.iter().chain(before).filter_map(move |address| {
            if other_than.is_some_and(|other| Arc::ptr_eq(other, address)) {
                return None;
            }
            let (is_well, view) = address.view(now);
            (is_well == well).then_some((address, view))
        })
    }
}

/// The first that is least loaded of those that were offered.
#[derive(Default)]
struct Least<'a>(Option<(usize, &'a Arc<Address>, Ticket)>);

impl<'a> Least<'a> {
    fn offer(&mut self, address: &'a Arc<Address>, ticket: Ticket) {
        let load = address.load();
        if self.0.is_none_or(|(least, ..)| load < least) {
            self.0 = Some((load, address, ticket));
        }
    }

    fn chosen(self) -> Option<(&'a Arc<Address>, Ticket)> {
        self.0.map(|(_, address, ticket)| (address, ticket))
    }
}

impl Lease<'_> {
    /// Where to call.
    pub(crate) const fn address(&self) -> &Arc<Address> {
        &self.address
    }

    /// Sends to the address, and receives.
    pub(crate) async fn exchange(
        &self,
        message: Message,
        measure: Measure,
        deadline: Instant,
    ) -> Result<Received, UpstreamError> {
        self.address.connections.exchange(message, measure, deadline).await
    }

    /// Tells what became of the call, and passes it on.
    pub(crate) fn finish(
        mut self,
        result: Result<Received, UpstreamError>,
    ) -> Result<Received, UpstreamError> {
        let outcome = match &result {
            Ok(received) => Outcome::of_status(received.status),
            Err(error) => Outcome::of_error(error),
        };
        self.end(self.pool.verdict(&result), outcome);
        result
    }

    fn end(&mut self, verdict: Verdict, outcome: Outcome) {
        let Some(ticket) = self.ticket.take() else { return };
        self.address.leave();
        let now = self.pool.now();
        let took = now.watch.saturating_sub(self.began);
        let entropy = self.pool.entropy.as_ref();
        self.address.finish(ticket, (verdict, outcome), took, now, entropy);
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        self.end(Verdict::Neutral, Outcome::Abandoned);
    }
}

impl Pool {
    /// What the end of a call says about the address.
    fn verdict(&self, result: &Result<Received, UpstreamError>) -> Verdict {
        match result {
            Ok(received) if self.failing.contains(&received.status.as_u16()) => Verdict::Failed,
            // It answered, if not as one would like.
            Ok(_)
            | Err(
                UpstreamError::TooLarge | UpstreamError::Encoded(_) | UpstreamError::Redirect(_),
            ) => Verdict::Passed,
            Err(
                UpstreamError::Unreachable(_)
                | UpstreamError::Tls(_)
                | UpstreamError::Late(Stage::Connect | Stage::Head | Stage::Body)
                | UpstreamError::Broken(_)
                | UpstreamError::NotHttp(_),
            ) => Verdict::Failed,
            Err(
                UpstreamError::Unknown(_)
                | UpstreamError::Unaddressable
                | UpstreamError::Entropy(_)
                | UpstreamError::Unsigned(_)
                | UpstreamError::Overloaded
                | UpstreamError::Open { .. }
                | UpstreamError::Returned(_),
            ) => Verdict::Neutral,
        }
    }
}
