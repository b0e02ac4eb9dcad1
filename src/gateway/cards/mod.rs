//! Cards: which places are replaced, and how nothing else is touched.
//!
//! An answer is read once into a plan ([`answer::Cards`]): where links and ids stand, which links may
//! not stay, what is told to the EHR. Tokens and records are made by others; with them the plan is
//! rendered in one copy of the answer's bytes.

pub mod policy;
pub mod target;
pub mod markdown;
pub mod plan;
pub mod read;
pub mod answer;
