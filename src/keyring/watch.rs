//! A changed key file is taken up while requests are served.
//!
//! The file is read again every few seconds and judged by its content. That sees every kind of change
//! alike: a rename over it, a link that is swapped (as the kubelet does), a file system that tells nobody.
//! A file that cannot be used is refused as a whole, and the ring from before stays.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::keyring::error::KeyringError;
use crate::keyring::file::{KeyFile, Text};
use crate::keyring::live::LiveKeyring;
use crate::keyring::metrics::Metrics;
use crate::keyring::place::open;
use crate::keyring::ring::Keyring;

/// How often the file is read. A rotation waits for minutes: this is soon enough, and costs nothing.
pub const EVERY: Duration = Duration::from_secs(5);

/// Keeps a ring as its file says.
#[derive(Debug)]
pub struct KeyFileWatch {
    path: PathBuf,
    longest_life: Duration,
    keyring: Arc<LiveKeyring>,
    clock: Arc<dyn Clock>,
    metrics: Metrics,
    seen: Option<Seen>,
}

/// What was found last, so that it is told once.
#[derive(Debug, PartialEq, Eq)]
enum Seen {
    Content(Vec<u8>),
    Failure(String),
}

impl KeyFileWatch {
    /// Watches the file at `path`, from which `keyring` was read, for keys whose work may live for
    /// `longest_life`.
    pub const fn new(
        path: PathBuf,
        longest_life: Duration,
        keyring: Arc<LiveKeyring>,
        clock: Arc<dyn Clock>,
        metrics: Metrics,
    ) -> Self {
        Self { path, longest_life, keyring, clock, metrics, seen: None }
    }

    /// Looks every [`EVERY`] until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            // A mounted file may be slow to read: not on a thread that serves.
            let looked = tokio::task::spawn_blocking(move || {
                self.look();
                self
            });
            self = match looked.await {
                Ok(watch) => watch,
                Err(error) => {
                    tracing::error!(%error, "the key file is not watched any more");
                    return;
                }
            };
            tokio::select! {
                () = self.clock.sleep(EVERY) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Reads the file once, and takes it up where it is another one than before and good.
    pub fn look(&mut self) {
        let text = self.read();
        let seen = match &text {
            Ok(text) => Seen::Content(text.digest().as_ref().to_vec()),
            Err(error) => Seen::Failure(error.to_string()),
        };
        if self.seen.as_ref() == Some(&seen) {
            return;
        }
        self.seen = Some(seen);
        match text.and_then(|text| self.parse(&text)) {
            Ok(ring) => {
                self.metrics.refused.set(0);
                self.take_up(ring);
            }
            Err(error) => {
                self.metrics.failures.inc();
                self.metrics.refused.set(1);
                tracing::error!(%error, "the key file is not taken up: the keys from before stay in use");
            }
        }
    }

    fn read(&self) -> Result<Text, KeyringError> {
        Text::read(&self.path, &open(&self.path)?)
    }

    fn parse(&self, text: &Text) -> Result<Keyring, KeyringError> {
        Keyring::try_from(&KeyFile::parse(&self.path, text)?)?.lasting(self.longest_life)
    }

    fn take_up(&self, ring: Keyring) {
        let (before, now) = (self.keyring.ring(), self.clock.now());
        if before.fingerprint() == ring.fingerprint() && before.rows() == ring.rows() {
            return;
        }
        for row in ring.missing(&before, now) {
            let (kind, state) = (row.r#use.word(), row.course.state.word());
            tracing::warn!(
                kind,
                kid = row.kid,
                state,
                "a key is gone that is needed: what it made is refused now"
            );
        }
        tracing::info!(fingerprint = %ring.fingerprint(), before = %before.fingerprint(), "the key file is taken up");
        self.keyring.replace(ring, now);
    }
}
