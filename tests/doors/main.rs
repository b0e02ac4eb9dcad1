//! The public listener over real sockets: what comes through, what does not, and what ends when.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failing test is the report"
)]

#[path = "../shared/authority.rs"]
mod authority;
mod harness;
mod smuggling;
mod pipelining;
mod silence;
mod tls;
mod http2;
mod handlers;
mod drain;
mod mtls;
mod balancer;
