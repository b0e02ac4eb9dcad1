//! Everything that is wrong with the clients' settings, at once.

use std::fmt;

use crate::names::ClientId;
use crate::problem::{Code, KeyPath, Problem, Problems};

/// One thing to change, as a sentence for the operator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettingsProblem {
    /// Which `[[client]]`, counted from 0; `None` for `[jwks]`.
    pub client: Option<(usize, ClientId)>,
    /// What kind of problem.
    pub code: Code,
    /// Which key of it.
    pub key: &'static str,
    /// What is wrong and what to write instead.
    pub sentence: String,
    /// The other client, by its number, where two have the same.
    pub other: Option<usize>,
}

impl From<SettingsProblem> for Problem {
    fn from(problem: SettingsProblem) -> Self {
        let at = |index| KeyPath::of("client").index(index).key(problem.key);
        let Some((index, _)) = problem.client else {
            return Self::error(
                problem.code,
                KeyPath::of("jwks").key(problem.key),
                problem.sentence,
            );
        };
        let told = Self::error(problem.code, at(index), problem.sentence);
        match problem.other {
            Some(other) => told.with(at(other), "it is here, too"),
            None => told,
        }
    }
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

impl From<SettingsError> for Problems {
    fn from(error: SettingsError) -> Self {
        Self(error.0.into_iter().map(Problem::from).collect())
    }
}
