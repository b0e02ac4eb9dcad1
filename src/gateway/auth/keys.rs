//! The keys held for one client.
//!
//! A `kid` that is held is found without a lock and without waiting. One that is not held may be new,
//! and may be nonsense: it causes at most one fetch per cool-down, whose end is waited for briefly.
//!
//! An outage of the key server must not look like a bad token. So "unknown" is said only where the
//! latest attempt to read the set succeeded; where it failed, or is not over yet, the answer is
//! "unavailable", though other keys are held: the `kid` may be the new key that could not be fetched.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use moka::sync::Cache;

use crate::clock::{Clock, UnixTime};
use crate::gateway::auth::counts::ClientCounts;
use crate::gateway::auth::jwk::{KeyFault, VerifyingKey};
use crate::gateway::auth::key_set::{Found, KeySet};
use crate::gateway::auth::progress::{Asked, Progress};
use crate::names::ClientId;

/// How a client's keys may be used and asked for.
#[derive(Clone, Copy, Debug)]
pub(super) struct KeyRules {
    /// How old a set may become.
    pub(super) max_stale: Duration,
    /// After an attempt, no `kid` causes another for this long.
    pub(super) cooldown: Duration,
    /// How long a call waits for one.
    pub(super) wait: Duration,
    /// A `kid` that was looked for in vain causes no other attempt for this long.
    pub(super) remember_unknown: Duration,
    /// How many such `kid`s are remembered.
    pub(super) unknown_kept: u32,
    /// Whether keys with a published private half are taken.
    pub(super) allow_public_test_keys: bool,
}

/// The keys of one client.
#[derive(Debug)]
pub(super) struct ClientKeys {
    client: ClientId,
    rules: KeyRules,
    clock: Arc<dyn Clock>,
    held: ArcSwapOption<Held>,
    progress: Progress,
    unknown: Cache<String, Duration>,
    counts: ClientCounts,
    /// An inline set has nowhere to be asked for again.
    has_source: bool,
}

/// A set in use. Never changed: a new one takes its place as a whole.
#[derive(Debug)]
pub(super) struct Held {
    /// The set.
    pub(super) set: Arc<KeySet>,
    /// When it was read from its source.
    pub(super) fetched_at: UnixTime,
    usable_until: Duration,
}

/// Why there is no key to verify with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoKey {
    /// The client's current set has none under that name.
    Unknown,
    /// It has one that cannot be used.
    Refused(KeyFault),
    /// It cannot be said.
    Unavailable {
        /// When to try again.
        retry_after: Duration,
    },
}

/// What can be told about a client's keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyStatus {
    /// Whose keys.
    pub client: ClientId,
    /// The usable ones.
    pub kids: Vec<String>,
    /// Why keys of the set are not used: a code for each.
    pub refused: Vec<&'static str>,
    /// Time since the set was read from its source.
    pub age: Option<Duration>,
    /// When that was.
    pub last_success: Option<UnixTime>,
    /// The code of the latest attempt's failure, where it failed.
    pub last_error: Option<&'static str>,
    /// Time until the next attempt; `None` while one is pending, and for inline sets.
    pub next_refresh: Option<Duration>,
}

impl ClientKeys {
    /// No keys yet.
    pub(super) fn new(
        client: ClientId,
        rules: KeyRules,
        has_source: bool,
        clock: Arc<dyn Clock>,
        counts: ClientCounts,
    ) -> Self {
        Self {
            client,
            clock,
            held: ArcSwapOption::empty(),
            progress: Progress::default(),
            unknown: Cache::new(u64::from(rules.unknown_kept)),
            rules,
            counts,
            has_source,
        }
    }

    /// Whose keys they are.
    pub(super) const fn client(&self) -> &ClientId {
        &self.client
    }

    /// How they may be used.
    pub(super) const fn rules(&self) -> &KeyRules {
        &self.rules
    }

    /// Whether they can be asked for again.
    pub(super) const fn has_source(&self) -> bool {
        self.has_source
    }

    /// The state of the attempts to read them.
    pub(super) const fn progress(&self) -> &Progress {
        &self.progress
    }

    /// Puts `set`, read at `fetched_at`, in the place of the set before.
    pub(super) fn hold(&self, set: KeySet, fetched_at: UnixTime) -> Arc<Held> {
        self.hold_shared(Arc::new(set), fetched_at)
    }

    fn hold_shared(&self, set: Arc<KeySet>, fetched_at: UnixTime) -> Arc<Held> {
        let age = self.clock.now().since(fetched_at);
        let left =
            if self.has_source { self.rules.max_stale.saturating_sub(age) } else { Duration::MAX };
        let usable_until = self.clock.monotonic().saturating_add(left);
        let held = Arc::new(Held { set, fetched_at, usable_until });
        self.held.store(Some(Arc::clone(&held)));
        held
    }

    /// Begins with the keys that `other` holds, where they were read later than those that are held here.
    pub(super) fn begin_with(&self, other: &Self) {
        let theirs = other.held.load_full();
        let ours = self.held.load().as_ref().map(|held| held.fetched_at);
        if let Some(theirs) = theirs.filter(|held| Some(held.fetched_at) > ours) {
            self.hold_shared(Arc::clone(&theirs.set), theirs.fetched_at);
        }
    }

    /// The attempt that was started has ended. Answers when the next is due, `next_in` from now.
    pub(super) fn attempted(&self, error: Option<&'static str>, next_in: Duration) -> Duration {
        self.counts.attempted(error.unwrap_or("ok"));
        let now = self.clock.monotonic();
        let due = now.saturating_add(next_in);
        self.progress.end(now, error, due);
        due
    }

    /// The one key with this name.
    ///
    /// # Errors
    /// [`NoKey`]
    pub(super) async fn find(&self, kid: &str) -> Result<Arc<VerifyingKey>, NoKey> {
        match self.look(kid) {
            Some(Found::Key(key)) => Ok(key),
            Some(Found::Refused(fault)) => {
                self.suspect();
                Err(NoKey::Refused(fault))
            }
            Some(Found::Nothing) => {
                let result = self.find_anew(kid).await;
                self.counts.unknown_kid(match &result {
                    Ok(_) => "found",
                    Err(NoKey::Unknown | NoKey::Refused(_)) => "unknown",
                    Err(NoKey::Unavailable { .. }) => "unavailable",
                });
                result
            }
            None => self.find_anew(kid).await,
        }
    }

    /// A key that is held did not verify what it should have: its owner may have replaced it under
    /// the same name. Nobody waits for the answer.
    pub(super) fn suspect(&self) {
        if self.has_source {
            self.progress.ask(self.clock.monotonic(), self.rules.cooldown);
        }
    }

    /// Whether there is a set that may be used now.
    pub(super) fn is_usable(&self) -> bool {
        self.usable().is_some()
    }

    /// What can be told about these keys.
    pub(super) fn status(&self) -> KeyStatus {
        let held = self.usable();
        let set = held.as_ref().map(|held| held.set.as_ref());
        let last_success = self.held.load().as_ref().map(|held| held.fetched_at);
        let now = self.clock.monotonic();
        KeyStatus {
            client: self.client.clone(),
            kids: set.map(KeySet::kids).unwrap_or_default(),
            refused: set.map(KeySet::faults).unwrap_or_default(),
            age: last_success.map(|at| self.clock.now().since(at)),
            last_success,
            last_error: self.progress.error(),
            next_refresh: self.progress.due().map(|due| due.saturating_sub(now)),
        }
    }

    fn usable(&self) -> Option<Arc<Held>> {
        let now = self.clock.monotonic();
        self.held.load_full().filter(|held| now < held.usable_until)
    }

    fn look(&self, kid: &str) -> Option<Found> {
        let held = self.held.load();
        let held = held.as_ref()?;
        (self.clock.monotonic() < held.usable_until).then(|| held.set.find(kid))
    }

    async fn find_anew(&self, kid: &str) -> Result<Arc<VerifyingKey>, NoKey> {
        if !self.has_source || self.is_known_unknown(kid) {
            return Err(NoKey::Unknown);
        }
        let now = self.clock.monotonic();
        let (failed, looked_for) = match self.progress.ask(now, self.rules.cooldown) {
            // It may have been published since: the end of the cool-down is soon enough to look again.
            Asked::Cooling { failed } => (failed, false),
            Asked::Pending(number) => match self.progress.ended(number, self.rules.wait).await {
                Some(ended) => (ended.is_err(), true),
                None => (true, true),
            },
        };
        match self.look(kid) {
            Some(Found::Key(key)) => Ok(key),
            Some(Found::Refused(fault)) => Err(NoKey::Refused(fault)),
            Some(Found::Nothing) if !failed => {
                if looked_for {
                    let until = self.clock.monotonic().saturating_add(self.rules.remember_unknown);
                    self.unknown.insert(kid.to_owned(), until);
                }
                Err(NoKey::Unknown)
            }
            Some(Found::Nothing) | None => Err(self.unavailable()),
        }
    }

    /// The cache's own clock cannot be set, so the expiry is kept with the value. After a failed
    /// attempt nothing is known any more.
    fn is_known_unknown(&self, kid: &str) -> bool {
        self.is_usable()
            && self.progress.error().is_none()
            && self.unknown.get(kid).is_some_and(|until| self.clock.monotonic() < until)
    }

    fn unavailable(&self) -> NoKey {
        let now = self.clock.monotonic();
        let next = self.progress.due().map_or(Duration::ZERO, |due| due.saturating_sub(now));
        let longest = self.rules.cooldown.max(Duration::from_secs(1));
        NoKey::Unavailable { retry_after: next.clamp(Duration::from_secs(1), longest) }
    }
}
