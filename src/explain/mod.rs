//! What the gateway does with a token, a link or an id, told step by step to an operator.
//!
//! The steps judge; here is only told what they say. Nothing is spent, nothing is stored, and what could be
//! used by whoever reads it (a signature, a link's target) is not told.

pub mod report;
mod call;
mod substitute;

pub use crate::explain::call::{CallQuestion, Calls};
pub use crate::explain::report::{Report, Standing, Step, Verdict};
pub use crate::explain::substitute::{StoreSide, Substitutes};
