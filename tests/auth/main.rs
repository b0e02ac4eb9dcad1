//! The authentication step as callers, key servers and operators meet it: real keys, real signatures,
//! real TLS, real files.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failing test is the report"
)]

mod gate;
mod server;
mod signer;

mod examination;
mod binding;
mod files;
mod hostile;
mod interop;
mod kids;
mod outage;
mod refusing_servers;
mod reload;
mod settings;
mod spec_example;
