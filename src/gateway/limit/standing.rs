//! What the caller of a check is told.

use std::time::Duration;

use governor::Quota;

use crate::gateway::limit::metrics::Limit;

/// The figures of the limit that was asked, for a `RateLimit-Policy` field
/// (draft-ietf-httpapi-ratelimit-headers-10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// `q`: how many may come in a window.
    pub quota: u32,
    /// `w`: in how long an empty bucket is full again.
    pub window: Duration,
}

impl Policy {
    pub(crate) const fn of(quota: Quota) -> Self {
        Self { quota: quota.burst_size().get(), window: quota.burst_size_replenished_in() }
    }

    /// `w` in whole seconds, rounded up, at least 1.
    pub fn window_secs(self) -> u64 {
        whole_secs(self.window)
    }
}

/// Leave to go on. Only a check makes one.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Passed {
    standing: Option<Standing>,
}

/// How the limit that was asked stands, for a `RateLimit` field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Which one.
    pub limit: Limit,
    /// Its figures.
    pub policy: Policy,
    /// `r`: how many more would pass now.
    pub remaining: u32,
}

impl Passed {
    /// Only for the check itself: where it was passed, or not held.
    pub(super) const fn new(standing: Option<Standing>) -> Self {
        Self { standing }
    }

    /// How the tightest limit that was asked stands; nothing where limits are off or only observed.
    pub const fn standing(&self) -> Option<Standing> {
        self.standing
    }
}

/// Too often.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("over the limit {which}, {} s to wait", self.retry_after_secs())]
pub struct Limited {
    which: Limit,
    retry_after: Duration,
    policy: Policy,
}

impl Limited {
    pub(super) const fn new(which: Limit, retry_after: Duration, policy: Policy) -> Self {
        Self { which, retry_after, policy }
    }

    /// Which limit said so. For the log; the caller need not know.
    pub const fn which(&self) -> Limit {
        self.which
    }

    /// How long until the next one would pass.
    pub const fn retry_after(&self) -> Duration {
        self.retry_after
    }

    /// The same in whole seconds for `Retry-After` (RFC 9110 section 10.2.3), rounded up, at least 1.
    pub fn retry_after_secs(&self) -> u64 {
        whole_secs(self.retry_after)
    }

    /// The limit's figures.
    pub const fn policy(&self) -> Policy {
        self.policy
    }
}

fn whole_secs(duration: Duration) -> u64 {
    let up = u64::from(duration.subsec_nanos() > 0);
    duration.as_secs().saturating_add(up).max(1)
}
