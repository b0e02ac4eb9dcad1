//! What a request says about itself, read in one pass.
//!
//! A CDS service calls the FHIR server that the request names, with the bearer token that the request
//! carries. [`bases`] knows where it may be sent, [`policy`] how strict a client is held to it, and
//! [`request`] reads the body.

pub mod bases;
pub mod policy;
pub mod request;
