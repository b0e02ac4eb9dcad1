//! What leaves the gateway in place of a link or an id.
