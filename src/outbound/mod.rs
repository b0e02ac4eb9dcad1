//! Connections that hookgate itself opens.

pub mod names;
pub mod fetch;
pub mod roots;
