//! Finding places in a JSON text and replacing only these.
//!
//! No tree is built and nothing is printed anew: a [`scan::Scanner`] walks the text once and gives
//! positions of [`token`]s, a [`members::Seen`] keeps two readers of one text from understanding it differently,
//! and [`splice::Edits`] copies the text with the places replaced. Number spelling, key order,
//! white space and duplicate unknown members so stay what they were.

pub mod token;
pub mod scan;
pub mod members;
pub mod splice;
