//! The admin listener: one page that says how everything stands, the same as JSON, and a few buttons.
//!
//! It listens on this machine only and asks nobody who they are; `guard` keeps other pages in the operator's
//! browser out. The page is made here, whole, without script; it shows a [`Status`] that somebody else
//! collects, and has an [`Action`] done by the same.

mod settings;
mod guard;
pub mod status;
mod action;
mod page;
mod answer;
mod listener;

pub use action::{Action, Done, Operated, Outcome};
pub use listener::{Admin, AdminError};
pub use settings::{LoopbackAddress, NotLoopback, Settings};
pub use status::Status;
