//! What `deploy/` ships, looked at by the tools of those who will use it, and held to what the program says.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failing test is the report"
)]

mod alerts;
mod image;
mod manifests;
mod pods;
mod redis;
mod runbook;
mod schemas;
mod systemd;
mod tools;

#[path = "../shared/port.rs"]
mod port;
