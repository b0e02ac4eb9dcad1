//! The program as the ops person meets it: real processes, real signals, what they print and how they end.
//!
//! Whoever waits here waits for something to happen, never for time to pass.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failing test is the report"
)]

mod certificates;
mod check;
mod demo;
mod drain;
mod explain;
mod healthcheck;
mod home;
mod keys;
#[path = "../shared/leaks.rs"]
mod leaks;
#[path = "../shared/port.rs"]
mod port;
mod reload;
mod reload_under_load;
mod serve;
#[expect(dead_code, reason = "the tests of the connection need more of it")]
#[path = "../redis/server.rs"]
mod server;
mod sockets;
mod state;
mod teaching;
