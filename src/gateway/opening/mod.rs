//! A clinician opens a link.
//!
//! This module decides and words; it asks no store and writes no audit. In order: [`plan`] says what a
//! request may do, [`Browser`] who is asking, [`SpendNote`] whether the same browser may come back,
//! [`location`] where to, [`redirect`] and [`page`] what is answered.
//!
//! One-time links are burnt by machines, not by thieves: scanners, previews and prefetching browsers
//! fetch what they see. So what does not say that a person is going there gets a page with one button,
//! and only pressing it spends. A scanner that drives a real browser does say so, and is stopped only by
//! `confirm = "always"`.

pub mod settings;
mod plan;
mod browser;
mod location;
mod page;
mod answer;

pub use answer::{peek, redirect, wants_page};
pub use browser::{Browser, SpendNote};
pub use location::{LocationError, location, with_query};
pub use page::{Page, PageKind, page};
pub use plan::{Plan, plan};
pub use settings::{Confirm, Settings};
