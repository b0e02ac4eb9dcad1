//! Several gateways in front of one store, as they run in production: real processes that are raced,
//! killed, stopped and set wrong, and a ledger of what the world around them saw.
//!
//! Nothing here looks into a gateway: what is judged is what EHRs, browsers and the service were told.
//! Time passes for real, because the processes under test live in it; nothing depends on how fast.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a failing test is the report, and the ledger is to be read"
)]

mod case;
mod chaos;
mod dice;
mod door;
mod ehr;
mod entries;
mod fleet;
mod gateway;
mod judgement;
#[path = "../shared/leaks.rs"]
mod leaks;
mod ledger;
mod legacy;
mod links;
#[path = "../shared/port.rs"]
mod port;
mod races;
mod recovery;
#[expect(dead_code, reason = "the same server as the tests of the connection start")]
#[path = "../redis/server.rs"]
mod server;
mod site;
mod soak;
mod told;
mod world;
