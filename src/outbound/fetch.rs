//! Fetching a small document from a server that may be hostile.
