//! What a run is given from outside, and how it says that it cannot begin.

use std::fmt::Display;
use std::sync::Arc;

use crate::clock::{Clock, SystemClock};
use crate::entropy::{Entropy, SystemEntropy};
use crate::problem::{Code, KeyPath, Problem, Problems};

/// All that differs between a real run and a test.
#[derive(Clone, Debug)]
pub struct Ambient {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub entropy: Arc<dyn Entropy>,
}

impl Ambient {
    /// The machine's own.
    pub fn system() -> Self {
        Self { clock: Arc::new(SystemClock::new()), entropy: Arc::new(SystemEntropy::default()) }
    }
}

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct StartError(pub(crate) Problems);

impl StartError {
    /// Whether changing the configuration would help, as against something outside of it.
    pub fn is_configuration(&self) -> bool {
        self.0.0.iter().any(|problem| problem.code != Code::Outside)
    }

    /// Everything that is in the way.
    pub fn problems(&self) -> &[Problem] {
        &self.0.0
    }
}

/// What `result` holds, or nothing and more `problems`, so that all of them are told at once.
pub(crate) fn note<T, E: Into<Problems>>(
    problems: &mut Vec<Problem>,
    result: Result<T, E>,
) -> Option<T> {
    result.map_err(|error| problems.extend(error.into().0)).ok()
}

/// What another configuration would mend.
pub(crate) fn inside(error: impl Into<Problems>) -> StartError {
    StartError(error.into())
}

/// What no configuration would mend.
pub(crate) fn outside(error: impl Display) -> StartError {
    let problem = Problem::error(Code::Outside, KeyPath::default(), error.to_string());
    StartError(Problems(vec![problem]))
}
