//! What a request's time went into.

use std::time::Duration;

use crate::names::UpstreamId;
use crate::trace::SpanId;

/// One part of a request's way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    /// A stable word.
    pub name: &'static str,
    /// When it began, counted from the request's beginning.
    pub began: Duration,
    /// When it ended.
    pub ended: Duration,
    /// The upstream's part, where it is a call to one.
    pub call: Option<UpstreamCall>,
}

/// A call to an upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamCall {
    /// Its span, which the upstream was told as the parent of its own.
    pub span: SpanId,
    /// Which upstream.
    pub upstream: UpstreamId,
    /// What it answered, where it did.
    pub status: Option<u16>,
}

/// The beginning of a step. Nothing where nobody wants to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a step that is not ended is not told"]
pub struct Begun(pub(crate) Option<Duration>);
