//! What a call costs, step by step and whole, and beside a proxy that does the least.
//!
//! Absolute times belong to the machine that took them; ratios within one run can be compared.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a measurement that cannot be made is reported by its panic"
)]

mod bare;
mod call;
#[expect(dead_code, reason = "the tests need more of it")]
#[path = "../../tests/auth/signer.rs"]
mod signer;
mod steps;
mod tokens;

use criterion::{criterion_group, criterion_main};

criterion_group!(
    hot_path,
    steps::verify,
    steps::inspect,
    steps::rewrite,
    steps::links,
    steps::ids,
    call::time,
    call::cpu,
);
criterion_main!(hot_path);
