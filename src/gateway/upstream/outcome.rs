//! How a call to an upstream came out, in one word.

use std::fmt;
use std::fmt::Write;

use http::StatusCode;
use prometheus_client::encoding::{EncodeLabelValue, LabelValueEncoder};

use crate::gateway::upstream::error::{Stage, UpstreamError};

/// How a call came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Outcome {
    Success,
    NotModified,
    ClientError,
    ServerError,
    Misdirected,
    GatewayError,
    Overloaded,
    Unreachable,
    Tls,
    LateConnect,
    LateHead,
    LateBody,
    Broken,
    NotHttp,
    TooLarge,
    Encoded,
    Redirect,
    /// It was not called: it has failed lately.
    Open,
    /// It gave the request back unread.
    Returned,
    /// Whoever asked did not wait for the answer.
    Abandoned,
}

impl Outcome {
    /// All there are, in the order in which they are counted.
    pub(crate) const ALL: [Self; 20] = [
        Self::Success,
        Self::NotModified,
        Self::ClientError,
        Self::ServerError,
        Self::Misdirected,
        Self::GatewayError,
        Self::Overloaded,
        Self::Unreachable,
        Self::Tls,
        Self::LateConnect,
        Self::LateHead,
        Self::LateBody,
        Self::Broken,
        Self::NotHttp,
        Self::TooLarge,
        Self::Encoded,
        Self::Redirect,
        Self::Open,
        Self::Returned,
        Self::Abandoned,
    ];

    pub(crate) fn of_status(status: StatusCode) -> Self {
        if status.is_success() {
            Self::Success
        } else if status.is_redirection() {
            Self::NotModified
        } else if status.is_client_error() {
            Self::ClientError
        } else {
            Self::ServerError
        }
    }

    pub(crate) const fn of_error(error: &UpstreamError) -> Self {
        match error {
            UpstreamError::Unknown(_) | UpstreamError::Unaddressable => Self::Misdirected,
            UpstreamError::Entropy(_) | UpstreamError::Unsigned(_) => Self::GatewayError,
            UpstreamError::Overloaded => Self::Overloaded,
            UpstreamError::Unreachable(_) => Self::Unreachable,
            UpstreamError::Tls(_) => Self::Tls,
            UpstreamError::Late(Stage::Connect) => Self::LateConnect,
            UpstreamError::Late(Stage::Head) => Self::LateHead,
            UpstreamError::Late(Stage::Body) => Self::LateBody,
            UpstreamError::Broken(_) => Self::Broken,
            UpstreamError::NotHttp(_) => Self::NotHttp,
            UpstreamError::TooLarge => Self::TooLarge,
            UpstreamError::Encoded(_) => Self::Encoded,
            UpstreamError::Redirect(_) => Self::Redirect,
            UpstreamError::Open { .. } => Self::Open,
            UpstreamError::Returned(_) => Self::Returned,
        }
    }

    /// One word for it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::NotModified => "not_modified",
            Self::ClientError => "client_error",
            Self::ServerError => "server_error",
            Self::Misdirected => "misdirected",
            Self::GatewayError => "gateway_error",
            Self::Overloaded => "overloaded",
            Self::Unreachable => "unreachable",
            Self::Tls => "tls",
            Self::LateConnect => "late_connect",
            Self::LateHead => "late_head",
            Self::LateBody => "late_body",
            Self::Broken => "broken",
            Self::NotHttp => "not_http",
            Self::TooLarge => "too_large",
            Self::Encoded => "encoded",
            Self::Redirect => "redirect",
            Self::Open => "open",
            Self::Returned => "returned",
            Self::Abandoned => "abandoned",
        }
    }
}

impl EncodeLabelValue for Outcome {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        encoder.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stands_where_it_is_counted_and_has_a_word_of_its_own() {
        let words: std::collections::HashSet<_> = Outcome::ALL.iter().map(|it| it.name()).collect();
        assert_eq!(words.len(), Outcome::ALL.len());
        for (number, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, number);
        }
    }
}
