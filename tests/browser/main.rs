//! What only a browser can tell: that it follows, posts, remembers and forgets as the pages expect.
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a failing test is the report"
)]

mod driver;
mod site;
#[path = "../it/harness/mod.rs"]
#[expect(dead_code, unused_imports, reason = "shared with tests/it, where all of it is used")]
mod harness;
#[path = "../shared/port.rs"]
mod port;
mod chart;
mod measure;
mod rig;
mod opening;
mod button;
mod ahead;
mod pages;
mod status;
