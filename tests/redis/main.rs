//! The way to Redis, against real servers: alone, as a cluster and under sentinels.
#![expect(clippy::expect_used, clippy::panic, reason = "a failing test is the report")]

mod server;
mod cluster;
mod sentinel;
mod rig;
mod harness;
mod one;
#[path = "../shared/port.rs"]
mod port;
mod outage;
mod login;
mod tls;
mod durably;
mod failover;
mod slots;
