//! When an address of an upstream is left alone.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::problem::{Code, Problem};
use crate::units::Period;

/// `[upstream.breaker]`: an address that fails is left alone, so that nobody waits for it, and tried
/// with one call after a pause.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Breaker {
    /// How many calls in a row must fail. Default 5; 0 never leaves an address alone for that.
    pub failures: u32,
    /// Which statuses are failures, beside connections that fail and answers that do not come. Default
    /// 500, 502, 503 and 504. A 4xx never is: it says something about the request.
    pub statuses: Vec<u16>,
    /// How many calls in a hundred within `window` must fail, for an address that sometimes answers
    /// well. Not set by default: a service that fails for one hook may be good for the others.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_percent: Option<u8>,
    /// Over what time `failure_percent` is counted. Default 30 s.
    pub window: Period,
    /// How many calls there must be in `window` before `failure_percent` means anything. Default 20.
    pub min_calls: u32,
    /// How long an address is left alone at first. Default 2 s. Each time that the one call after the
    /// pause fails, the next pause is twice as long; each is drawn out by up to as much again, so that
    /// replicas do not try together.
    pub pause: Period,
    /// The longest pause, before it is drawn out. Default 30 s.
    pub max_pause: Period,
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            failures: 5,
            statuses: vec![500, 502, 503, 504],
            failure_percent: None,
            window: Period::secs(30),
            min_calls: 20,
            pause: Period::secs(2),
            max_pause: Period::secs(30),
        }
    }
}

/// A window is counted in tenths, and a pause in milliseconds.
const SHORTEST: Period = Period::millis(10);
/// Longer than that is an outage of the gateway's making.
const LONGEST: Period = Period::secs(600);

impl Breaker {
    /// What is wrong with it, a sentence each.
    pub(crate) fn problems(&self) -> Vec<Problem> {
        let mut found = Vec::new();
        if let Some(other) = self.statuses.iter().find(|status| !(500..600).contains(*status)) {
            found.push(Problem::said(
                Code::OutOfRange,
                format!(
                    "breaker.statuses has {other}; only 500 to 599 say that the service failed"
                ),
            ));
        }
        if self.failure_percent.is_some_and(|percent| !(1..=100).contains(&percent)) {
            found.push(Problem::said(
                Code::OutOfRange,
                "breaker.failure_percent is out of range; write 1 to 100",
            ));
        }
        if self.min_calls == 0 {
            found.push(Problem::said(Code::OutOfRange, "breaker.min_calls is 0; write 1 or more"));
        }
        for (name, period) in
            [("window", self.window), ("pause", self.pause), ("max_pause", self.max_pause)]
        {
            if !(SHORTEST..=LONGEST).contains(&period) {
                found.push(Problem::said(
                    Code::OutOfRange,
                    format!("breaker.{name} is out of range; write \"10ms\" to \"10m\""),
                ));
            }
        }
        if self.pause > self.max_pause {
            found.push(Problem::said(
                Code::OutOfRange,
                "breaker.pause is longer than breaker.max_pause; write less than that",
            ));
        }
        found
    }
}
