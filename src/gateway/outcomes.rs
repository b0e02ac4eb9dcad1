//! The body of a feedback call: its entries, and each entry alone.
