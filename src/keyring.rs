//! The keys that seal links, vouch for ids and sign.
