//! A clinician opens a link.
