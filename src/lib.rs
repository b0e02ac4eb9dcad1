//! hookgate stands in front of CDS Hooks services that cannot tell who is calling them.
//!
//! The modules below stand in floor order: a module names only what stands above it. The list is
//! also the reading order, and inside [`gateway`] it is the order in which a request meets the steps.

// -- ground --------------------------------------------------------------------------------------
pub mod clock;
pub mod entropy;
pub mod problem;
pub mod units;
pub mod names;
pub mod body;
pub mod files;
pub mod trace;
pub mod audit;
pub mod record;
pub mod certificate;
pub mod listening;
pub mod outbound;
pub mod traces;
pub mod redis;
pub mod store;
pub mod keyring;
pub mod json;
pub mod readiness;
pub mod replicas;
pub mod client_certificate;
pub mod peer;
// -- the ways through ----------------------------------------------------------------------------
pub mod gateway;
// -- the doors -----------------------------------------------------------------------------------
pub mod doors;
pub mod health;
pub mod bypass;
pub mod admin;
// -- assembly ------------------------------------------------------------------------------------
pub mod config;
pub mod explain;
pub mod app;
pub mod demo;
pub mod cli;
