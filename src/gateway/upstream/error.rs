//! How a call to an upstream can fail.

use std::fmt;
use std::time::Duration;

use http::StatusCode;

use crate::entropy::NoEntropy;
use crate::names::UpstreamId;

/// How far a call had come when its time was up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Resolving, connecting or the TLS handshake; nothing was sent.
    Connect,
    /// Sending the request, or waiting for the head of the answer.
    Head,
    /// Reading the answer's body.
    Body,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connect => "connecting",
            Self::Head => "waiting for the answer",
            Self::Body => "reading the answer",
        })
    }
}

/// The gateway's key could not sign.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no token could be signed: {0}")]
pub struct Unsigned(pub String);

/// Why there is no answer that could be passed on.
#[derive(Debug, thiserror::Error)]
pub enum UpstreamError {
    /// No upstream of that name is configured.
    #[error("no upstream is called {0}")]
    Unknown(UpstreamId),
    /// An id cannot stand in a URL as one segment: it is empty or a dot segment, or too long.
    #[error("an id cannot stand in the upstream's URL")]
    Unaddressable,
    /// There was no randomness for a span or token id.
    #[error(transparent)]
    Entropy(#[from] NoEntropy),
    /// The upstream wants a token of the gateway's and none could be signed.
    #[error(transparent)]
    Unsigned(#[from] Unsigned),
    /// It has as many calls as it takes, and so has the queue before it.
    #[error("as many calls as the upstream takes are under way")]
    Overloaded,
    /// It has failed again and again, and is left alone for a while.
    #[error("the upstream has failed lately and is not called for {} ms", .again.as_millis())]
    Open {
        /// When a call is tried again; zero while one is being tried.
        again: Duration,
    },
    /// It gave the request back unread (RFC 9113, sections 6.8 and 8.7): it is going away, or has too many.
    #[error("the upstream gave the request back: {0}")]
    Returned(String),
    /// Its name does not resolve, or it takes no connection.
    #[error("the upstream cannot be reached: {0}")]
    Unreachable(String),
    /// One side does not accept the other's certificate, or they have no TLS in common.
    #[error("no TLS with the upstream: {0}")]
    Tls(String),
    /// It took too long.
    #[error("the upstream was late: time was up while {0}")]
    Late(Stage),
    /// The connection ended before the answer did.
    #[error("the upstream broke off: {0}")]
    Broken(String),
    /// What it sent is not HTTP, or not an answer.
    #[error("the upstream does not speak HTTP: {0}")]
    NotHttp(String),
    /// Its answer is larger than `max_answer`.
    #[error("the upstream's answer is too large")]
    TooLarge,
    /// Its answer is encoded in a way that was not asked for and cannot be undone.
    #[error("the upstream's answer is encoded: {0}")]
    Encoded(&'static str),
    /// It sends the caller elsewhere. Redirects are never followed: what was to be sent is about a
    /// patient and meant for this address alone.
    #[error("the upstream redirects with status {}", .0.as_u16())]
    Redirect(StatusCode),
}

impl UpstreamError {
    /// Whether the upstream cannot have acted on the request: nothing of it was ever sent. Only then
    /// may it be sent again without the risk of its being done twice.
    pub const fn surely_not_processed(&self) -> bool {
        match self {
            Self::Unknown(_)
            | Self::Unaddressable
            | Self::Entropy(_)
            | Self::Unsigned(_)
            | Self::Overloaded
            | Self::Open { .. }
            | Self::Returned(_)
            | Self::Unreachable(_)
            | Self::Tls(_)
            | Self::Late(Stage::Connect) => true,
            Self::Late(Stage::Head | Stage::Body)
            | Self::Broken(_)
            | Self::NotHttp(_)
            | Self::TooLarge
            | Self::Encoded(_)
            | Self::Redirect(_) => false,
        }
    }
}
