//! The health listener.
