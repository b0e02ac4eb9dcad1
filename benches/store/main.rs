//! What the store costs its callers: a spend, a whole opening, what is swept beside, a start.
//!
//! Percentiles of single calls, which criterion does not take, beside what one `fdatasync` takes on the same
//! file system in the same run. Absolute times belong to the machine that took them; ratios within one
//! run can be compared.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a measurement that cannot be made is reported by its panic, one that was made is printed"
)]

mod backends;
mod callers;
mod figures;
mod opens;
#[expect(dead_code, reason = "the tests need more of it")]
#[path = "../../tests/redis/server.rs"]
mod server;
#[expect(dead_code, reason = "the tests need more of it")]
#[path = "../../tests/auth/signer.rs"]
mod signer;
#[path = "../../tests/shared/port.rs"]
mod port;
mod slow;
mod spends;
mod start;
mod sweep;
mod sync;
#[expect(dead_code, reason = "whole calls need more of it")]
#[path = "../hot_path/tokens.rs"]
mod tokens;

use figures::Effort;

type Measure = fn(Effort);

/// The measurements, by the name that picks one: `cargo bench --bench store -- spends`.
const MEASUREMENTS: &[(&str, Measure)] = &[
    ("sync", sync::measure),
    ("spends", spends::measure),
    ("slow-disks", slow::measure),
    ("opens", opens::measure),
    ("sweep", sweep::measure),
    ("start", start::measure),
];

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (options, wanted): (Vec<&str>, Vec<&str>) =
        words.iter().map(String::as_str).partition(|word| word.starts_with('-'));
    let effort = if options.contains(&"--bench") { Effort::Full } else { Effort::Least };
    for (name, measure) in MEASUREMENTS {
        if wanted.is_empty() || wanted.iter().any(|word| name.contains(word)) {
            println!("\n== {name}");
            measure(effort);
        }
    }
}
