//! How an upstream is asked whether it is well.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::problem::{Code, Problem};
use crate::units::Period;

/// `upstream.health`: each address is asked again and again, and gets no calls while it does not answer
/// well and another one does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// What is asked for with GET, from the root of the host: `/healthz`.
    #[schemars(example = &"/healthz")]
    pub path: String,
    /// How long from one question to the next. Default 5 s.
    #[serde(default = "interval")]
    pub interval: Period,
    /// How long an answer may take, connecting included. Default 1 s.
    #[serde(default = "timeout")]
    pub timeout: Period,
    /// How many good answers in a row bring an address back. Default 2.
    #[serde(default = "healthy_after")]
    pub healthy_after: u32,
    /// How many bad ones in a row take it out. Default 3.
    #[serde(default = "unhealthy_after")]
    pub unhealthy_after: u32,
    /// Which statuses are good. Default: every 2xx.
    #[serde(default)]
    pub statuses: Vec<u16>,
}

const fn interval() -> Period {
    Period::secs(5)
}

const fn timeout() -> Period {
    Period::secs(1)
}

const fn healthy_after() -> u32 {
    2
}

const fn unhealthy_after() -> u32 {
    3
}

/// More often is load and tells nothing.
const SHORTEST: Period = Period::millis(10);

impl Health {
    /// What is wrong with it, a sentence each.
    pub(crate) fn problems(&self) -> Vec<Problem> {
        let mut found = Vec::new();
        let mut require = |holds: bool, code, sentence: &str| {
            if !holds {
                found.push(Problem::said(code, sentence));
            }
        };
        let target = self.path.parse::<http::uri::PathAndQuery>();
        require(
            self.path.starts_with('/') && target.is_ok_and(|it| it.as_str() == self.path),
            Code::BadValue,
            "health.path is no path; write \"/healthz\"",
        );
        require(
            self.interval >= SHORTEST,
            Code::OutOfRange,
            "health.interval is too short; write \"5s\"",
        );
        require(
            (SHORTEST..=Period::secs(60)).contains(&self.timeout),
            Code::OutOfRange,
            "health.timeout is out of range; write \"1s\"",
        );
        require(
            self.healthy_after > 0,
            Code::OutOfRange,
            "health.healthy_after is 0; write 1 or more",
        );
        require(
            self.unhealthy_after > 0,
            Code::OutOfRange,
            "health.unhealthy_after is 0; write 1 or more",
        );
        require(
            self.statuses.iter().all(|status| (200..600).contains(status)),
            Code::OutOfRange,
            "health.statuses has what is no status of an answer; write [200, 204]",
        );
        found
    }
}
