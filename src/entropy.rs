//! Where random bytes come from.
//!
//! Token ids, nonces, keys and request ids are all drawn from one [`Entropy`], so that a test can
//! make them repeatable.

use std::fmt;
use std::sync::Mutex;

use aws_lc_rs::digest;
use aws_lc_rs::rand::{SecureRandom, SystemRandom};

/// The source of randomness did not deliver. Nothing that needs it may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the source of randomness failed")]
pub struct NoEntropy;

/// Unpredictable bytes.
pub trait Entropy: Send + Sync + fmt::Debug + 'static {
    /// Fills `out`.
    ///
    /// # Errors
    /// [`NoEntropy`] where the source failed; `out` must then not be used.
    fn fill(&self, out: &mut [u8]) -> Result<(), NoEntropy>;
}

/// Draws `N` bytes.
///
/// # Errors
/// [`NoEntropy`] where the source failed.
pub fn draw<const N: usize>(entropy: &dyn Entropy) -> Result<[u8; N], NoEntropy> {
    let mut out = [0; N];
    entropy.fill(&mut out)?;
    Ok(out)
}

/// The operating system's generator.
#[derive(Debug, Default)]
pub struct SystemEntropy(SystemRandom);

impl Entropy for SystemEntropy {
    fn fill(&self, out: &mut [u8]) -> Result<(), NoEntropy> {
        self.0.fill(out).map_err(|_| NoEntropy)
    }
}

/// A repeatable sequence: SHA-256 of a seed and a counter. Predictable, hence for tests only.
#[derive(Debug)]
pub struct SeededEntropy {
    seed: u64,
    counter: Mutex<u64>,
}

impl SeededEntropy {
    /// The sequence that belongs to `seed`.
    pub const fn new(seed: u64) -> Self {
        Self { seed, counter: Mutex::new(0) }
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, out: &mut [u8]) -> Result<(), NoEntropy> {
        for chunk in out.chunks_mut(digest::SHA256_OUTPUT_LEN) {
            let count = {
                let mut counter = self.counter.lock().map_err(|_| NoEntropy)?;
                *counter = counter.wrapping_add(1);
                *counter
            };
            let mut block = [0; 16];
            let (left, right) = block.split_at_mut(8);
            left.copy_from_slice(&self.seed.to_be_bytes());
            right.copy_from_slice(&count.to_be_bytes());
            let hash = digest::digest(&digest::SHA256, &block);
            for (to, from) in chunk.iter_mut().zip(hash.as_ref()) {
                *to = *from;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_and_differs_from_another() {
        let draw_two = |seed| {
            let source = SeededEntropy::new(seed);
            (draw::<40>(&source).unwrap(), draw::<40>(&source).unwrap())
        };
        let (first, second) = draw_two(1);
        assert_ne!(first, second);
        assert_eq!(draw_two(1), (first, second));
        assert_ne!(draw_two(2).0, first);
    }

    #[test]
    fn the_system_source_fills() {
        assert_ne!(draw::<32>(&SystemEntropy::default()).unwrap(), [0; 32]);
    }
}
