//! Connections that hookgate itself opens.

pub mod fetch;
pub mod roots;
