//! What a run is given from outside, and how it says that it cannot begin.

use std::sync::Arc;

use crate::clock::{Clock, SystemClock};
use crate::entropy::{Entropy, SystemEntropy};

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
#[error("{}", problems.join("\n"))]
pub struct StartError {
    pub(crate) problems: Vec<String>,
    pub(crate) configuration: bool,
}

impl StartError {
    /// Whether changing the configuration would help, as against something outside of it.
    pub const fn is_configuration(&self) -> bool {
        self.configuration
    }
}

/// Collects sentences, so that all of them are told at once.
#[derive(Default)]
pub(crate) struct Problems(pub(crate) Vec<String>);

impl Problems {
    /// What `result` holds, or nothing and a sentence more.
    pub(crate) fn note<T, E: std::fmt::Display>(&mut self, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.0.push(error.to_string())).ok()
    }

    /// All of them, as what the configuration must change.
    pub(crate) fn into_error(self) -> StartError {
        StartError { problems: self.0, configuration: true }
    }
}

/// What another configuration would mend.
pub(crate) fn inside(error: impl std::fmt::Display) -> StartError {
    StartError { problems: vec![error.to_string()], configuration: true }
}

/// What no configuration would mend.
pub(crate) fn outside(error: impl std::fmt::Display) -> StartError {
    StartError { problems: vec![error.to_string()], configuration: false }
}
