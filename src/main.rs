//! hookgate, as a program.
fn main() {}
