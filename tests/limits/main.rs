//! Limits that replicas share through a real Redis.
//!
//! Redis' clock is the machine's own: what is counted on it is compared with what that clock says has
//! passed, and figures that must not change meanwhile refill in minutes.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failing test is the report"
)]

#[expect(dead_code, reason = "the tests of the connection need more of it")]
#[path = "../redis/server.rs"]
mod server;
#[path = "../shared/port.rs"]
mod port;
mod rig;
mod script;
mod fleet;
mod outage;
