//! Times taken one by one, and what is said of them.

use std::time::Duration;

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effort {
    /// What `cargo bench` asks for.
    Full,
    /// As little as shows that it runs: what `cargo test --benches` asks for.
    Least,
}

/// How long each of many calls took.
#[derive(Debug, Default)]
pub(crate) struct Times(pub(crate) Vec<Duration>);

impl Times {
    pub(crate) fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        sorted[(sorted.len() - 1) * percent / 100]
    }

    /// One row: median, 99th percentile, and how many times the others' median ours is.
    pub(crate) fn row(&self, what: &str, others: &Self) -> String {
        let [p50, p99] = [50, 99].map(|percent| self.percentile(percent));
        let ratio = p50.as_secs_f64() / others.percentile(50).as_secs_f64();
        format!("| {what} | {} | {} | {ratio:.1} |", micros(p50), micros(p99))
    }
}

fn micros(time: Duration) -> String {
    format!("{:.1} µs", time.as_secs_f64() * 1e6)
}
