//! Bodies through the readers: recorded ones, generated ones, hostile ones.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a failing test is the report")]

mod generated;
mod hostile;
mod recorded;
mod tree;
