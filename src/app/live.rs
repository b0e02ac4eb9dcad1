//! The generation that is at work now, and what became of the attempts to replace it.

use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;

use crate::app::generation::Generation;
use crate::clock::UnixTime;

/// Gives the generation at work. Clones give the same; who asks keeps what it is given for one piece of work,
/// and no longer.
#[derive(Clone, Debug)]
pub struct Live(Arc<Stage>);

#[derive(Debug)]
struct Stage {
    generation: ArcSwap<Generation>,
    reloads: watch::Sender<ReloadStatus>,
}

/// What became of reloads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReloadStatus {
    /// When the generation at work was taken up.
    pub since: UnixTime,
    /// How many there were before it.
    pub replaced: u64,
    /// The latest attempt; none where nothing has changed since the start.
    pub latest: Option<Attempt>,
}

/// One attempt to take up a changed configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// When it ended.
    pub at: UnixTime,
    /// Why it was made.
    pub cause: Cause,
    /// A sentence for each thing that is wrong, and nothing is changed; or none, and all of it is taken up.
    pub problems: Vec<String>,
}

/// Why a reload is tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// SIGHUP.
    Asked,
    /// A file holds something else than before.
    Changed,
    /// The latest was refused, and may be good by now.
    Again,
}

impl Cause {
    /// For the log.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Changed => "changed",
            Self::Again => "again",
        }
    }
}

impl Live {
    /// Begins with this one.
    pub(crate) fn new(first: Generation, since: UnixTime) -> Self {
        let status = ReloadStatus { since, replaced: 0, latest: None };
        let (generation, reloads) = (ArcSwap::from_pointee(first), watch::Sender::new(status));
        Self(Arc::new(Stage { generation, reloads }))
    }

    /// The one at work now.
    pub fn generation(&self) -> Arc<Generation> {
        self.0.generation.load_full()
    }

    /// What became of reloads, now and from now on.
    pub fn reloads(&self) -> watch::Receiver<ReloadStatus> {
        self.0.reloads.subscribe()
    }

    /// Puts `next` to work. Calls in flight end on the one before.
    pub(crate) fn replace(&self, next: Generation, at: UnixTime, cause: Cause) {
        self.0.generation.store(Arc::new(next));
        self.0.reloads.send_modify(|status| {
            status.since = at;
            status.replaced = status.replaced.saturating_add(1);
            status.latest = Some(Attempt { at, cause, problems: Vec::new() });
        });
    }

    /// Notes that nothing was replaced.
    pub(crate) fn refuse(&self, problems: Vec<String>, at: UnixTime, cause: Cause) {
        self.0.reloads.send_modify(|status| status.latest = Some(Attempt { at, cause, problems }));
    }
}
