//! Calls to upstreams over real sockets: what arrives there, and what becomes of what they answer.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "a failing test is the report"
)]

mod rig;
mod request;
mod answer;
mod connection;
mod tls;
mod addresses;
mod breaker;
mod health;
mod names;
mod renewed;
mod returned;
