//! Everything that is wrong with the clients' settings, at once.

use std::fmt;

use crate::names::ClientId;

/// One thing to change, as a sentence for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsProblem {
    /// Which `[[client]]`, counted from 0; `None` for `[jwks]`.
    pub client: Option<(usize, ClientId)>,
    /// Which key of it.
    pub key: &'static str,
    /// What is wrong and what to write instead.
    pub sentence: String,
}

impl fmt::Display for SettingsProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.client {
            Some((_, id)) => write!(f, "client {id}: {}: {}", self.key, self.sentence),
            None => write!(f, "jwks.{}: {}", self.key, self.sentence),
        }
    }
}

/// The settings of clients or keys cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct SettingsError(pub Vec<SettingsProblem>);
