//! The two ways through: a call to a service, and a link that a clinician opens.

pub mod reply;
pub mod route;
pub mod auth;
pub mod limit;
pub mod replay;
pub mod inspect;
pub mod upstream;
pub mod tokens;
pub mod cards;
pub mod outcomes;
pub mod cors;
pub mod opening;
