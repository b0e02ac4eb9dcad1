//! What every store promises, tried on each backend, and what the disk store promises beyond it:
//! that an answer survives a kill, a failing disk and a lost cache, and that a store knows when it
//! has forgotten.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a failing test is the report"
)]

#[path = "../redis/server.rs"]
mod server;
#[expect(dead_code, reason = "the tests of the connection need more of it")]
#[path = "../redis/cluster.rs"]
mod cluster;
mod common;
mod backends;
mod contract;
mod disk_size;
mod disk_trouble;
mod faults;
mod forgetting;
mod kill;
mod medium;
mod mounts;
mod opening;
#[path = "../shared/port.rs"]
mod port;
mod proxy;
mod replica;
mod shared;
mod forgotten;
mod bounds;
mod partial;
mod linear;
mod history;
