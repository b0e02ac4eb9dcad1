//! What replicas let through together beside what one lets through alone, and what asking Redis costs.
//!
//! Needs `redis-server` on the path. Times belong to the machine that took them; shares and ratios of one
//! run can be compared.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a measurement that cannot be made is reported by its panic, one that was made is printed"
)]

mod costs;
mod figures;
mod flood;
#[path = "../../tests/shared/port.rs"]
mod port;
mod replicas;
#[expect(dead_code, reason = "the tests of the connection need more of it")]
#[path = "../../tests/redis/server.rs"]
mod server;

use figures::Effort;
use tokio::runtime::Runtime;

/// `cargo bench --bench limits -- flood` makes one of them.
fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let (options, wanted): (Vec<&str>, Vec<&str>) =
        words.iter().map(String::as_str).partition(|word| word.starts_with('-'));
    let effort = if options.contains(&"--bench") { Effort::Full } else { Effort::Least };
    let asked = |name: &str| wanted.is_empty() || wanted.iter().any(|word| name.contains(word));
    let runtime = Runtime::new().unwrap();
    if asked("flood") {
        runtime.block_on(flood::measure(effort));
    }
    if asked("costs") {
        runtime.block_on(costs::measure(effort));
    }
}
