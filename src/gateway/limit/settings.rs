//! How often is often enough, as the operator writes it, and whether that can be held to.

use std::num::NonZeroU32;

use governor::Quota;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::names::ClientId;
use crate::problem::{Code, KeyPath, Problem, Problems};
use crate::units::Period;

/// Above this a figure is a slip of the pen: no process answers that often, and no bucket of that
/// size limits anything.
const MOST: u32 = 1_000_000;

/// What happens to somebody who comes too often.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Refused until there is room again.
    #[default]
    Enforce,
    /// Let through, and counted as somebody who would have been refused.
    Observe,
    /// Nothing is counted.
    Off,
}

/// A bucket that holds `burst` and fills at a steady rate (GCRA). Written
/// `{ per_second = 50, burst = 100 }` or `{ per_minute = 30, burst = 20 }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rate {
    /// How many in a second, in the long run. Exactly one of this and `per_minute` is set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_second: Option<u32>,
    /// How many in a minute, in the long run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_minute: Option<u32>,
    /// How many at once by somebody who has been away. Default: the rate's own figure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub burst: Option<u32>,
}

impl Rate {
    /// So many a second, and so many at once.
    pub const fn per_second(count: u32, burst: u32) -> Self {
        Self { per_second: Some(count), per_minute: None, burst: Some(burst) }
    }

    /// So many a minute, and so many at once.
    pub const fn per_minute(count: u32, burst: u32) -> Self {
        Self { per_second: None, per_minute: Some(count), burst: Some(burst) }
    }

    fn quota(self) -> Result<Quota, (Code, String)> {
        let (count, unit) = match (self.per_second, self.per_minute) {
            (Some(count), None) => (count, "per_second"),
            (None, Some(count)) => (count, "per_minute"),
            (None, None) => {
                let why = "says no rate; write per_second or per_minute";
                return Err((Code::MissingKey, why.to_owned()));
            }
            (Some(_), Some(_)) => {
                let why = "has both per_second and per_minute; write one of them";
                return Err((Code::Conflict, why.to_owned()));
            }
        };
        let rate = figure(unit, count)?;
        let burst = figure("burst", self.burst.unwrap_or(count))?;
        let quota = if self.per_second.is_some() {
            Quota::per_second(rate)
        } else {
            Quota::per_minute(rate)
        };
        Ok(quota.allow_burst(burst))
    }
}

fn figure(name: &str, value: u32) -> Result<NonZeroU32, (Code, String)> {
    let in_range = NonZeroU32::new(value).filter(|figure| figure.get() <= MOST);
    in_range.ok_or_else(|| (Code::OutOfRange, format!("has {name} = {value}; write 1 to {MOST}")))
}

/// `[limits]`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Whether limits are held, only watched, or not counted at all. Default `"enforce"`.
    pub mode: Mode,
    /// Everything from one client address, before anybody is authenticated; IPv6 by its /64. An EHR
    /// may send all its clinicians' calls from one address, so the default is twice what one client
    /// may do: `client` is what an EHR meets first.
    pub address: Rate,
    /// Failed authentications from one client address. Only failures draw on it; once it is empty the
    /// address is refused before its token is even looked at, until there is room for one more. A
    /// mistaken EHR recovers by itself; somebody who guesses makes 30 guesses a minute.
    pub failing_address: Rate,
    /// Opened links from one client address: a clinician clicks, a scanner sweeps. A clinic behind one
    /// address stays well below the default.
    pub open_address: Rate,
    /// All calls of one authenticated client.
    pub client: Rate,
    /// The calls of one authenticated client to one service, so that one busy service does not use up
    /// what the client has for the others.
    pub client_service: Rate,
    /// How many addresses, or clients and services, are told apart, for each kind of limit. Beyond it
    /// newcomers share a fixed number of buckets: memory stays bounded and nobody gets in free. At
    /// some 70 bytes each, the default is 7 MB for a kind.
    pub max_keys: usize,
    /// With Redis, whether all replicas together hold these figures, or each for itself. Default yes:
    /// what a caller may do does not grow with the number of replicas.
    pub shared: bool,
    /// The most that a call waits for Redis to say whether it is within its limits; then this replica's
    /// own limits hold until Redis answers again. Default 50 ms, a tenth of what a clinician waits for
    /// the whole call: a limit may be wrong for a while, a call may not be late for it.
    pub shared_timeout: Period,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            mode: Mode::Enforce,
            address: Rate::per_second(200, 400),
            failing_address: Rate::per_minute(30, 20),
            open_address: Rate::per_second(5, 20),
            client: Rate::per_second(100, 200),
            client_service: Rate::per_second(50, 100),
            max_keys: 100_000,
            shared: true,
            shared_timeout: Period::millis(50),
        }
    }
}

/// `[[client]] limit`: what one client has instead of the general figures.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ClientSettings {
    /// Instead of `limits.client`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<Rate>,
    /// Instead of `limits.client_service`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_service: Option<Rate>,
}

/// [`Settings`] that can be held to.
#[derive(Debug)]
pub(crate) struct Quotas {
    pub(crate) address: Quota,
    pub(crate) failing_address: Quota,
    pub(crate) open_address: Quota,
    pub(crate) client: Quota,
    pub(crate) client_service: Quota,
    pub(crate) overrides: Vec<Override>,
}

/// [`ClientSettings`] that can be held to.
#[derive(Debug)]
pub(crate) struct Override {
    pub(crate) client: ClientId,
    pub(crate) all: Option<Quota>,
    pub(crate) service: Option<Quota>,
}

/// Checks every figure.
pub(crate) fn check(
    settings: &Settings,
    overrides: &[(ClientId, ClientSettings)],
) -> Result<Quotas, Problems> {
    let mut problems = Vec::new();
    let mut quota = |at: KeyPath, rate: Rate| {
        rate.quota().unwrap_or_else(|(code, why)| {
            problems.push(Problem::error(code, at, why));
            // Stands in for the figure until the problems are handed back below.
            Quota::per_second(NonZeroU32::MIN)
        })
    };
    let quotas = Quotas {
        address: quota(KeyPath::of("limits.address"), settings.address),
        failing_address: quota(KeyPath::of("limits.failing_address"), settings.failing_address),
        open_address: quota(KeyPath::of("limits.open_address"), settings.open_address),
        client: quota(KeyPath::of("limits.client"), settings.client),
        client_service: quota(KeyPath::of("limits.client_service"), settings.client_service),
        overrides: overrides
            .iter()
            .map(|(client, own)| {
                let at = KeyPath::of("client").entry(client).key("limit");
                Override {
                    client: client.clone(),
                    all: own.client.map(|rate| quota(at.clone().key("client"), rate)),
                    service: own
                        .client_service
                        .map(|rate| quota(at.clone().key("client_service"), rate)),
                }
            })
            .collect(),
    };
    if settings.max_keys == 0 {
        let why = "limits.max_keys is 0; write at least 1, such as 100000";
        problems.push(Problem::said(Code::OutOfRange, why));
    }
    if settings.shared_timeout.get().is_zero() {
        let why = "limits.shared_timeout is 0; write at least \"1ms\", such as \"50ms\"";
        problems.push(Problem::said(Code::OutOfRange, why));
    }
    if problems.is_empty() { Ok(quotas) } else { Err(Problems(problems)) }
}
