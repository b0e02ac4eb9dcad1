//! The call to the legacy service.
