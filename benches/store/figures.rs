//! Times taken one by one, and what is said of them.

use std::time::Duration;

use hookgate::clock::{Clock, SystemClock};

/// How much is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effort {
    /// What `cargo bench` asks for.
    Full,
    /// As little as shows that it runs: what `cargo test --benches` asks for.
    Least,
}

impl Effort {
    /// `full`, or a hundredth of it.
    pub(crate) fn of(self, full: u64) -> u64 {
        match self {
            Self::Full => full,
            Self::Least => full.div_ceil(100),
        }
    }
}

/// How long each of many calls took, and all of them together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Times {
    each: Vec<Duration>,
    whole: Duration,
}

impl Times {
    pub(crate) fn new(each: Vec<Duration>, whole: Duration) -> Self {
        Self { each, whole }
    }

    /// Takes the time of `work`, so many times over.
    pub(crate) fn of(count: u64, mut work: impl FnMut(u64)) -> Self {
        let clock = SystemClock::new();
        let mut times = Self::default();
        for n in 0..count {
            let began = clock.monotonic();
            work(n);
            times.each.push(clock.monotonic() - began);
        }
        times.whole = times.each.iter().sum();
        times
    }

    pub(crate) fn add(&mut self, others: Self) {
        self.each.extend(others.each);
        self.whole += others.whole;
    }

    /// The time that half of the calls did not exceed.
    pub(crate) fn p50(&self) -> Duration {
        self.percentile(50)
    }

    fn percentile(&self, percent: usize) -> Duration {
        let mut sorted = self.each.clone();
        sorted.sort_unstable();
        sorted[(sorted.len() - 1) * percent / 100]
    }

    /// One line: `p50    0.512 ms  p90    0.730 ms  p99    1.020 ms    115079/s`.
    pub(crate) fn line(&self) -> String {
        let rate = self.each.len() as f64 / self.whole.as_secs_f64();
        let [p50, p90, p99] = [50, 90, 99].map(|percent| ms(self.percentile(percent)));
        format!("p50 {p50}  p90 {p90}  p99 {p99} {rate:>9.0}/s")
    }
}

/// Milliseconds, as all lines show times.
pub(crate) fn ms(time: Duration) -> String {
    format!("{:>8.3} ms", time.as_secs_f64() * 1e3)
}

/// How many times `of` a time is.
pub(crate) fn ratio(time: Duration, of: Duration) -> f64 {
    time.as_secs_f64() / of.as_secs_f64()
}
