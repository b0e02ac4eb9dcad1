//! One bucket that a call asks for leave.

use std::time::Duration;

use crate::gateway::limit::buckets::{Answer, Buckets};
use crate::gateway::limit::metrics::Limit;
use crate::gateway::limit::subject::Subject;

/// What is to be asked, of which bucket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question<'a> {
    pub(crate) limit: Limit,
    pub(crate) buckets: &'a Buckets,
    pub(crate) subject: Subject<'a>,
    /// Whether to draw where there is room, or only to look.
    pub(crate) draws: bool,
}

impl<'a> Question<'a> {
    pub(crate) const fn draw(limit: Limit, buckets: &'a Buckets, subject: Subject<'a>) -> Self {
        Self { limit, buckets, subject, draws: true }
    }

    pub(crate) const fn look(limit: Limit, buckets: &'a Buckets, subject: Subject<'a>) -> Self {
        Self { limit, buckets, subject, draws: false }
    }

    /// What this replica's own bucket says.
    pub(crate) fn ask_here(&self) -> Answer {
        if self.draws { self.buckets.draw(&self.subject) } else { self.buckets.look(&self.subject) }
    }

    /// Undoes a draw on this replica's own bucket: the call did not go on.
    pub(crate) fn give_back(&self) {
        if self.draws {
            self.buckets.give_back(&self.subject);
        }
    }

    /// Has this replica's own bucket refuse for so long, and then let one pass.
    pub(crate) fn refuse_for(&self, wait: Duration) {
        self.buckets.hold(&self.subject, wait);
    }
}
