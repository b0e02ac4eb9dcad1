//! Whom a connection comes from, and whom to believe about it.
