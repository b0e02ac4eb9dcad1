//! The gateway as the world meets it: over real sockets, with a scripted service behind it and an EHR that
//! signs its calls in front of it.
//!
//! What is *not* a failure here: slowness. Nothing asserts how long something takes; what depends on time
//! runs on a clock that the test moves.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failing test is the report"
)]

mod analytics;
mod feedback;
mod harness;
mod hook;
mod links;
mod published;
mod upstreams;
mod refusals;
mod cors;
mod discovery;
mod metrics;
mod limits;
mod replay;
mod outages;
mod trouble;
mod alone;
mod room;
mod secrets;
mod signals;
mod rotation;
mod admin;
mod mtls;
#[expect(dead_code, reason = "the tests of the doors need more of it")]
#[path = "../shared/authority.rs"]
mod authority;
#[path = "../shared/port.rs"]
mod port;
mod replicas;
#[expect(dead_code, reason = "the tests of the connection need more of it")]
#[path = "../redis/server.rs"]
mod server;
