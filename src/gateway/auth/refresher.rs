//! The task that keeps one client's keys fresh. Each client has its own, so that a key server that
//! hangs delays nobody else's.

use std::sync::Arc;
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio_util::sync::CancellationToken;

use crate::audit::{Audit, Event, What};
use crate::clock::Clock;
use crate::entropy::{Entropy, draw};
use crate::gateway::auth::kept::Shelf;
use crate::gateway::auth::keys::{ClientKeys, Held};
use crate::gateway::auth::source::{LoadError, Loaded, Source};

/// Reads a client's set again and again.
#[derive(Clone, Debug)]
pub(super) struct Refresher {
    /// Where the sets go.
    pub(super) keys: Arc<ClientKeys>,
    /// Where they come from.
    pub(super) source: Source,
    /// Where the last good one is kept, if anywhere.
    pub(super) shelf: Option<Shelf>,
    /// The first pause after a failure.
    pub(super) backoff_min: Duration,
    /// The longest.
    pub(super) backoff_max: Duration,
    /// Who is told when keys change.
    pub(super) audit: Audit,
    /// For the pauses.
    pub(super) clock: Arc<dyn Clock>,
    /// For the jitter.
    pub(super) entropy: Arc<dyn Entropy>,
}

impl Refresher {
    /// Runs until `stop`.
    pub(super) async fn run(self, stop: CancellationToken) {
        let mut backoff = None;
        let mut due = self.clock.monotonic();
        loop {
            let left = due.saturating_sub(self.clock.monotonic());
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.keys.progress().asked() => {}
                () = self.clock.sleep(left) => {}
            }
            self.keys.progress().start();
            let loaded = tokio::select! {
                () = stop.cancelled() => return,
                loaded = self.source.load(self.keys.rules().allow_public_test_keys) => loaded,
            };
            match loaded {
                Ok(loaded) => {
                    backoff = None;
                    let pause = self.pause_after(loaded.fresh_for);
                    let held = self.take(loaded);
                    due = self.keys.attempted(None, pause);
                    self.keep(held).await;
                }
                Err(error) => {
                    let pauses = backoff.get_or_insert_with(|| self.new_backoff());
                    let pause = pauses.next().unwrap_or(self.backoff_max).min(self.backoff_max);
                    let client = self.keys.client();
                    tracing::warn!(%client, code = error.code(), "keys not refreshed: {error}");
                    let event = Event::new(What::KeysRefused).client(client);
                    self.audit.note(event.detail(format!("{}: {error}", error.code())));
                    due = self.keys.attempted(Some(error.code()), pause);
                }
            }
        }
    }

    /// Reads the set once, without the task, and keeps nothing on disk.
    ///
    /// # Errors
    /// [`LoadError`]
    pub(super) async fn read_once(&self) -> Result<(), LoadError> {
        self.keys.progress().start();
        let loaded = self.source.load(self.keys.rules().allow_public_test_keys).await;
        let read = loaded.map(|loaded| drop(self.take(loaded)));
        self.keys.attempted(read.as_ref().err().map(LoadError::code), self.backoff_max);
        read
    }

    /// Does as if it had been tried in vain: whoever asks for a key that is not held then gets an answer at
    /// once.
    pub(super) fn leave_unread(&self) {
        self.keys.progress().start();
        self.keys.attempted(Some("not-asked"), self.backoff_max);
    }

    fn take(&self, loaded: Loaded) -> Arc<Held> {
        let before = self.keys.status();
        let held = self.keys.hold(loaded.set, self.clock.now());
        let (client, refused) = (self.keys.client(), held.set.refused());
        if before.kids != held.set.kids() || before.refused != held.set.faults() {
            let kids = held.set.kids();
            tracing::info!(%client, ?kids, "keys taken");
            let event = Event::new(What::KeysTaken).client(client);
            self.audit.note(event.detail(format!("kids: {}", kids.join(", "))));
            for key in refused {
                let (kid, fault) = (&key.kid, key.fault);
                tracing::warn!(%client, ?kid, code = fault.code(), "key refused: {fault}");
                let event = Event::new(What::KeysRefused).client(client);
                self.audit.note(event.detail(format!("{}: {kid:?}: {fault}", fault.code())));
            }
        }
        held
    }

    /// Asks again after some four fifths of the time, so that a set is new before it is old, and
    /// spread out, so that replicas do not ask together.
    fn pause_after(&self, fresh_for: Duration) -> Duration {
        match &self.source {
            Source::Server { .. } => fresh_for.mul_f64(0.75 + 0.1 * self.fraction()),
            Source::File { .. } => fresh_for,
        }
    }

    fn new_backoff(&self) -> ExponentialBackoff {
        ExponentialBuilder::new()
            .with_min_delay(self.backoff_min)
            .with_max_delay(self.backoff_max)
            .with_factor(2.0)
            .without_max_times()
            .with_jitter()
            .with_jitter_seed(self.random())
            .build()
    }

    /// Jitter is no secret: where the source of randomness fails, none is better than no refresh.
    fn random(&self) -> u64 {
        draw::<8>(self.entropy.as_ref()).map_or(0, u64::from_be_bytes)
    }

    fn fraction(&self) -> f64 {
        f64::from(u32::try_from(self.random() >> 32).unwrap_or(0)) / f64::from(u32::MAX)
    }

    async fn keep(&self, held: Arc<Held>) {
        let Some(shelf) = self.shelf.clone() else { return };
        let saved =
            tokio::task::spawn_blocking(move || shelf.save(&held.set, held.fetched_at)).await;
        let client = self.keys.client();
        if let Ok(Err(error)) = saved {
            tracing::warn!(%client, "keys not kept on disk: {error}");
        }
    }
}
