//! Choices that come again with the same seed.

use std::sync::Mutex;
use std::time::Duration;

use proptest::prelude::RngExt;
use proptest::test_runner::{RngAlgorithm, TestRng};

/// One sequence of choices.
pub(crate) struct Dice(Mutex<TestRng>);

impl Dice {
    /// The sequence `number` of the run with this seed.
    pub(crate) fn new(seed: u64, number: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_be_bytes());
        bytes[8..16].copy_from_slice(&number.to_be_bytes());
        Self(Mutex::new(TestRng::from_seed(RngAlgorithm::ChaCha, &bytes)))
    }

    /// From 0 to `bound`, that one not included.
    pub(crate) fn below(&self, bound: usize) -> usize {
        self.0.lock().unwrap().random_range(0..bound)
    }

    /// True once in so many times.
    pub(crate) fn once_in(&self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// A length of time from `least` to `most`, in milliseconds.
    pub(crate) fn millis(&self, least: u64, most: u64) -> Duration {
        Duration::from_millis(self.0.lock().unwrap().random_range(least..=most))
    }

    /// From `-most` to `most`.
    pub(crate) fn around_zero(&self, most: i64) -> i64 {
        self.0.lock().unwrap().random_range(-most..=most)
    }

    pub(crate) fn shuffle<T>(&self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }
}
