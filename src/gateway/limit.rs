//! How often somebody may come.
