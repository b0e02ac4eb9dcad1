//! The whole story in one process, over real sockets, with nothing to prepare.

pub mod server;
pub mod service;
pub mod ehr;
pub mod client;
pub mod stage;
pub mod story;
